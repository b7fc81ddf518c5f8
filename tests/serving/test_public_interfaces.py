"""The service uses the public interfaces of other packages, and changes nothing in them.

Private names may change with any release of a package, and a class that is replaced or patched breaks without notice.
"""

import ast
import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import serving

FOLDER = Path(serving.__file__).parent
FILES = sorted([*FOLDER.glob("*.py"), *(FOLDER.parent / "relu_inputs").glob("*.py")])

# Variables of modules that their documentation describes as settings. Nothing else of a package may be assigned.
SETTINGS = {
    "PIL.Image.MAX_IMAGE_PIXELS": "https://pillow.readthedocs.io/en/stable/reference/Image.html#PIL.Image.open",
    "PIL.PngImagePlugin.MAX_TEXT_MEMORY": "https://pillow.readthedocs.io/en/stable/reference/plugins.html"
    "#PIL.PngImagePlugin.MAX_TEXT_MEMORY",
}
NOT_SUBCLASSED = "uvicorn"  # its protocols and servers are no extension points
PATCHING_CALLS = {"setattr", "delattr", "__setattr__", "__delattr__"}
BY_NAME = PATCHING_CALLS | {"getattr", "hasattr", "attrgetter", "methodcaller", "__getattribute__"}
INTERNALS = {"__dict__", "__code__", "__globals__", "__closure__", "__defaults__", "__kwdefaults__", "__wrapped__"}
DYNAMIC_IMPORTS = {"__import__", "import_module"}


class Module:
    """One file of the service: what its names stand for in other modules, and which names it defines."""

    def __init__(self, source: str) -> None:
        self.nodes = list(ast.walk(ast.parse(source)))
        self.imported = dict(self._imports())
        self.own_names = set(self._own_names())
        for node in self.nodes:
            if isinstance(node, ast.Assign) and (origin := self.origin(node.value)):
                self.imported |= {target.id: origin for target in node.targets if isinstance(target, ast.Name)}

    def _imports(self) -> Iterator[tuple[str, str]]:
        """Yield each name that an import binds, with what it stands for."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield (
                        alias.asname or alias.name.partition(".")[0],
                        (alias.name if alias.asname else alias.name.partition(".")[0]),
                    )
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    yield alias.asname or alias.name, f"{'.' * node.level}{node.module or ''}.{alias.name}"

    def _own_names(self) -> Iterator[str]:
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
                yield node.attr
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id

    def origin(self, node: ast.expr) -> str | None:
        """Return the dotted name of an imported thing, or of a part of it; None for anything else."""
        if isinstance(node, ast.Name):
            return self.imported.get(node.id)
        if isinstance(node, ast.Attribute):
            origin = self.origin(node.value)
            return f"{origin}.{node.attr}" if origin else None
        if isinstance(node, ast.Subscript):
            origin = self.origin(node.value)
            return f"{origin}[]" if origin else None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("vars", "getattr"):
            origin = self.origin(node.args[0])
            return f"{origin}.?" if origin else None
        return None


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__")) and name != "_"


def name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def strings(nodes: Iterable[ast.expr]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def private_imports(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.Import):
            paths = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            paths = [f"{node.module or ''}.{alias.name}" for alias in node.names if node.module != "__future__"]
        elif isinstance(node, ast.Call) and name_of(node.func) in DYNAMIC_IMPORTS:
            paths = ["_dynamic"]
        else:
            continue
        for path in paths:
            if any(is_private(part) for part in path.split(".")) or path.endswith("*"):
                yield f"line {node.lineno}: imports {path}"


def private_attributes(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and (is_private(node.attr) or node.attr in INTERNALS):
            if not (is_self(node.value) and node.attr in module.own_names):
                yield f"line {node.lineno}: uses {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and name_of(node.func) in BY_NAME:
            names = [part for text in strings(node.args) for part in text.split(".")]
            if any(is_private(name) or name in INTERNALS for name in names):
                yield f"line {node.lineno}: uses {ast.unparse(node)}"


def changes(module: Module) -> Iterator[str]:
    """Yield assignments to parts of other packages, and deletions of them; not those of `SETTINGS`."""
    for node in module.nodes:
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            origin = module.origin(node)
        elif isinstance(node, ast.Call) and name_of(node.func) in PATCHING_CALLS and node.args:
            origin = module.origin(node.args[0])
        else:
            continue
        is_setting = origin in SETTINGS and isinstance(getattr(node, "ctx", None), ast.Store)
        if origin and not is_setting and not origin.startswith("serving."):
            yield f"line {node.lineno}: changes {origin}"


def subclasses(module: Module) -> Iterator[str]:
    for node in module.nodes:
        bases: list[ast.expr] = []
        if isinstance(node, ast.ClassDef):
            bases = node.bases
        elif isinstance(node, ast.Call) and name_of(node.func) in ("type", "new_class") and len(node.args) > 1:
            bases = list(getattr(node.args[1], "elts", []))
        for base in bases:
            if (module.origin(base) or "").partition(".")[0] == NOT_SUBCLASSED:
                yield f"line {node.lineno}: subclasses {ast.unparse(base)}"


def violations(source: str) -> list[str]:
    module = Module(source)
    rules = (private_imports, private_attributes, changes, subclasses)
    return [violation for rule in rules for violation in rule(module)]


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_the_service_keeps_to_public_interfaces(path: Path) -> None:
    assert violations(path.read_text()) == []


@pytest.mark.parametrize(
    "name", [path.stem for path in sorted(FOLDER.glob("*.py")) if path.stem not in ("__init__", "service")]
)
def test_no_class_overrides_a_private_name_of_another_package(name: str) -> None:
    """`serving.service` has no subclasses, and cannot be imported without models."""
    module = importlib.import_module(f"serving.{name}")
    for found in vars(module).values():
        if isinstance(found, type) and found.__module__ == module.__name__:
            foreign = [base for base in found.__mro__ if not base.__module__.startswith("serving.")]
            inherited = {attribute for base in foreign for attribute in vars(base) if is_private(attribute)}
            own = {attribute for attribute, value in vars(found).items() if callable(value)}
            assert not inherited & own, found


def test_each_exception_is_needed() -> None:
    sources = [path.read_text() for path in FILES]
    for setting in SETTINGS:
        assert any(setting.rpartition(".")[2] in source for source in sources), setting


BAD = [
    # Private modules and names
    "import bentoml._internal",
    "import bentoml._internal.service as service",
    "from bentoml._internal.service import Service",
    "from bentoml import _internal",
    "import _bentoml_impl.server",
    "from _bentoml_sdk import Service",
    "from serving.batching import _disconnect",
    "from . import _private",
    "from uvicorn import *",
    "def f():\n    from starlette import _utils",
    "import importlib\nimportlib.import_module('bentoml._internal')",
    "__import__('bentoml')",
    # Private attributes
    "import asyncio\nasyncio._get_running_loop()",
    "def f(request):\n    return request._receive",
    "def f(request):\n    request._body = b''",
    "def f(request):\n    return request.scope._x.y",
    "def f(request):\n    return getattr(request, '_receive', None)",
    "from operator import attrgetter\nf = attrgetter('a._b')",
    "class A:\n    def f(self, other):\n        return other._x",
    "from starlette.routing import Mount\nclass A(Mount):\n    def f(self):\n        return self._base_app",
    "class A:\n    def f(self):\n        return super()._f()",
    "class A:\n    def f(self):\n        return self.executor._threads",
    "def f(function):\n    return function.__wrapped__",
    "def f(thing):\n    thing.__dict__['x'] = 1",
    # Changes of other packages
    "import uvicorn\nuvicorn.Server = object",
    "import uvicorn\nuvicorn.config.LOGGING_CONFIG['version'] = 2",
    "import uvicorn\ndel uvicorn.Server.serve",
    "import uvicorn as server\nserver.Server.serve = print",
    "from uvicorn import Server\nServer.serve = print",
    "from uvicorn import Server as S\nS.serve: object = print",
    "from uvicorn import config\nconfig.SSL += 1",
    "from uvicorn import Server\nserver = Server\nserver.serve = print",
    "def f():\n    import uvicorn\n    uvicorn.Server = object",
    "import uvicorn\nfor uvicorn.Server in []:\n    pass",
    "import uvicorn\nwith open('a') as uvicorn.file:\n    pass",
    "import uvicorn\nuvicorn.a, uvicorn.b = 1, 2",
    "import uvicorn\nsetattr(uvicorn, 'Server', object)",
    "import uvicorn\nsetattr(uvicorn.Server, 'serve', print)",
    "import uvicorn\ndelattr(uvicorn, 'Server')",
    "import uvicorn\nobject.__setattr__(uvicorn, 'Server', object)",
    "import uvicorn\nvars(uvicorn)['Server'] = object",
    "import uvicorn\ngetattr(uvicorn, 'Server').serve = print",
    "import sys\nsys.modules['uvicorn'].Server = object",
    "from PIL import Image\nImage.MAX_IMAGE_PIXEL = None",
    "from PIL import Image\nImage.Image.load = None",
    "from PIL import Image\nImage.MAX_IMAGE_PIXELS.x = None",
    "from PIL import Image\ndel Image.MAX_IMAGE_PIXELS",
    "import starlette.requests\nstarlette.requests.Request.form = None",
    # Subclasses of uvicorn's
    "import uvicorn\nclass A(uvicorn.Server):\n    pass",
    "from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol\nclass A(HttpToolsProtocol):\n    pass",
    "from uvicorn.protocols.http.h11_impl import H11Protocol as P\nclass A(dict, P):\n    pass",
    "import uvicorn\nA = type('A', (uvicorn.Server,), {})",
    "from uvicorn import Server\nBase = Server\nclass A(Base):\n    pass",
]

GOOD = [
    "from __future__ import annotations",
    "from PIL import Image\nImage.MAX_IMAGE_PIXELS = None",
    "from PIL import PngImagePlugin\nPngImagePlugin.MAX_TEXT_MEMORY = 1",
    "import bentoml\nprint(bentoml.__version__)",
    "from msgspec import Struct\nclass A(Struct):\n    a: int\nprint(A.__struct_fields__)",
    "class A:\n    def __init__(self):\n        super().__init__()\n        self._x = 1\n        print(self._x)",
    "class A:\n    def f(self):\n        return self._g()\n    def _g(self):\n        return 1",
    "class A:\n    @classmethod\n    def _f(cls):\n        return cls._f()",
    "def _f():\n    return 1\nfor _, x in []:\n    _f()",
    "from starlette.applications import Starlette\napp = Starlette()\napp.router.redirect_slashes = False",
    "from starlette.staticfiles import StaticFiles\nclass A(StaticFiles):\n    pass",
    "import logging\nLOGGER = logging.getLogger('a')\nLOGGER.setLevel(logging.INFO)",
    "def f(route):\n    return getattr(route, 'path', '')",
    "import uvicorn\nconfig = uvicorn.Config('a')\nconfig.workers = 2",
    "from serving.middleware import ACCESS\nACCESS.propagate = False",
]


@pytest.mark.parametrize("source", BAD)
def test_the_check_finds(source: str) -> None:
    assert len(violations(source)) >= 1


@pytest.mark.parametrize("source", GOOD)
def test_the_check_allows(source: str) -> None:
    assert violations(source) == []
