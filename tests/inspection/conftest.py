from small_runs import data, make_run  # noqa: F401, the fixtures of this folder's tests
