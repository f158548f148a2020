"""The program `qemu-img`, for images whose format was inspected before."""

from imageprep_client.programs.qemu.disk import QemuDisk

__all__ = ["QemuDisk"]
