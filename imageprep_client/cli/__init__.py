"""The commands: words in, one call of the client, rows out.

Every ``openstack`` command imports the modules of all commands. A command
therefore imports the module of `imageprep_client.client` that it needs only
when it is used.
"""
