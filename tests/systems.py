"""What some systems lack."""

import os

import pytest

posix = pytest.mark.skipif(os.name != "posix", reason="signals end no process as they do under POSIX")
