"""Configuration of the release notes."""

project = "imageprep-client release notes"
copyright = "OpenStack contributors"
extensions = ["openstackdocstheme", "reno.sphinxext"]
html_theme = "openstackdocs"
openstackdocs_repo_name = "openstack/imageprep-client"
openstackdocs_auto_name = False
openstackdocs_auto_version = False
openstackdocs_use_storyboard = False
pygments_style = "native"
