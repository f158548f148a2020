"""The command line: words in, one call of the client, rows out.

This package is the machinery that commands share; the commands are in
`imageprep_client.cli.commands`. Every ``openstack`` command imports all of
them, so a command imports the modules of `imageprep_client.client` that it
needs inside its methods.
"""
