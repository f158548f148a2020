"""The composition roots, one for each family of use cases.

Only these modules know implementations. Programs use them as the commands
do::

    from imageprep_client.client.images import ContainerImages, PrepareRequest
    from imageprep_client.client.registry_options import RegistryOptions

    images = ContainerImages(RegistryOptions(image_serve="/srv/images"))
    result = images.prepare(PrepareRequest(environment_files=["env.yaml"]))
"""
