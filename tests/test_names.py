"""The public names of `tinynet`, which are imported when they are first used."""

import ast
import inspect

import pytest

import tinynet


def test_every_public_name_is_there_and_type_checkers_see_the_same():
    tree = ast.parse(inspect.getsource(tinynet))
    [typed] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(tinynet.__all__) <= set(dir(tinynet))
    for node in typed.body:
        for alias in node.names:
            expected = getattr(__import__(node.module, fromlist=[alias.name]), alias.name)
            assert getattr(tinynet, alias.name) is expected


def test_rooms_are_attributes_and_others_are_not():
    assert tinynet.data.DataError is tinynet.DataError
    with pytest.raises(AttributeError, match=r"module 'tinynet' has no attribute 'SDG'"):
        _ = tinynet.SDG
