"""Configuration of the documentation."""

project = "imageprep-client"
copyright = "OpenStack contributors"
extensions = [
    "openstackdocstheme",
    "cliff.sphinxext",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
]
templates_path = ["_templates"]
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
html_theme = "openstackdocs"
openstackdocs_repo_name = "openstack/imageprep-client"
openstackdocs_auto_name = False
openstackdocs_auto_version = False
openstackdocs_use_storyboard = False
pygments_style = "native"
autoprogram_cliff_application = "openstack"
