from commands.conftest import ask, data, folder, trained  # noqa: F401, the fixtures of the commands' tests
