"""Service containers on a node: declared, upgraded and rolled back.

A declaration (`declaration`) says which containers the node is to run.
`definitions` translates between declarations, podman's command line, and the
files of other tools. `swapping` replaces one container by another so that
`reverting` can repair a crash at any moment. `running` and `upgrading` are the
use cases.
"""
