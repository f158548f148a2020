"""Programs that distributions ship with set-id bits or capabilities."""

from __future__ import annotations

#: Where programs of a distribution are.
_FOLDERS = tuple(
    f"{top}{folder}/"
    for top in ("", "usr/")
    for folder in ("bin", "lib", "lib64", "libexec", "sbin")
)
_PROGRAMS = frozenset(
    str.split("""
    Xorg.wrap arping at batch bsd-write busybox busybox.suid chage
    chfn chkpwd chrome-sandbox
    chsh clockdiff cockpit-session crontab dbus-daemon-launch-helper
    dhclient dmcrypt-get-device dotlockfile dumpcap exim4 expiry fping
    fping6 fusermount fusermount3 gpasswd grub2-set-bootenv gst-ptp-helper
    incrontab ksu lockdev lockfile locate lxc-user-nic mail-lock
    mail-touchlock mail-unlock mailq mlocate mount mount.cifs
    mount.ecryptfs_private mount.fuse mount.nfs mount.nfs4 mtr mtr-packet
    netreport newaliases newgidmap newgrp newrole newuidmap ntfs-3g
    pam_extrausers_chkpwd pam_timestamp_check passwd ping ping4 ping6
    pkexec plocate polkit-agent-helper-1 postdrop postqueue pppd procmail
    rcp rlogin rsh screen sendmail sendmail.postfix sendmail.sendmail sg
    slocate snap-confine spice-client-glib-usb-acl-helper ssh-agent
    ssh-keysign sssd_pam staprun su su-l sudo sudo.ws sudoedit suexec
    sssd_nss ldap_child krb5_child proxy_child selinux_child
    systemd-detect-virt top traceroute6.iputils umount umount.nfs
    umount.nfs4 unix_chkpwd unix2_chkpwd uml_net userhelper usermount
    usernetctl utempter vlock-main vmware-user-suid-wrapper wall wodim
    write write.ul
""")
)


def is_declared(path: str) -> bool:
    """Whether a file of this path is known to have privileges."""
    return path.startswith(_FOLDERS) and path.rpartition("/")[2] in _PROGRAMS
