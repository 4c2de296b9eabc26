"""On PYTHONPATH, this makes a Python of Linux lack what Windows or macOS lack, and refuse what Windows refuses. What is
removed here cannot be called by any process that is begun with it, those of `prepare` included.
"""

import errno
import fcntl
import os
import shutil
import signal
import sys
import tempfile

import numpy  # noqa: F401  (Linux's own asks for os.uname)
import threadpoolctl

threadpoolctl.threadpool_info()  # looks for Linux's C library once, by os.uname

for module in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[module] = None  # so that importing it is an ImportError
for name in (
    "uname", "pread", "preadv", "fork", "forkpty", "register_at_fork", "sched_getaffinity", "sched_setaffinity",
    "O_NOFOLLOW", "O_DIRECTORY", "getuid", "geteuid", "fchmod", "getpgid", "killpg",
):  # fmt: skip
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "pthread_sigmask", "pthread_kill", "sigwait", "SIGKILL", "SIGUSR1", "alarm", "setitimer"):
    if hasattr(signal, name):
        delattr(signal, name)

_open, _fsync = os.open, os.fsync


def _open_no_folder(path, flags, mode=0o777, *, dir_fd=None):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return _open(path, flags, mode)


def _fsync_what_is_written(descriptor):
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return _fsync(descriptor)


def _in_use(path) -> bool:
    """Whether this process has the file, or one inside the folder, open."""
    whole = os.path.realpath(path)
    for number in os.listdir("/proc/self/fd"):
        try:
            opened = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if opened == whole or opened.startswith(whole + os.sep):
            return True
    return False


def _refusing(function):
    def refuse(path, *arguments, **options):
        if options.get("dir_fd") is None and os.path.lexists(path) and _in_use(path):
            raise PermissionError(errno.EACCES, "used by this process", os.fspath(path))
        return function(path, *arguments, **options)

    return refuse


os.O_ACCMODE = getattr(os, "O_ACCMODE", 3)
os.open, os.fsync = _open_no_folder, _fsync_what_is_written
if os.path.isdir("/proc/self/fd"):
    for name in ("rename", "replace", "unlink", "remove", "rmdir"):
        setattr(os, name, _refusing(getattr(os, name)))
tempfile.TemporaryFile = tempfile.NamedTemporaryFile  # as it is there: POSIX's own unlinks the file while it is open
shutil._use_fd_functions = False  # deletes folders by their names, as there
