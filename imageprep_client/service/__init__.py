"""Service containers on a node: declared, upgraded and rolled back.

A declaration (`declaration`) says which containers the node is to run.
`definitions` translates between declarations, podman's command line, and the
files of other tools. `swap` replaces one container by another so that a crash
at any moment can be repaired by `recovery`; `upgrading` is the use case.
"""
