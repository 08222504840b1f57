"""Imports run one way (DESIGN: config → model → decoding → …). The table says what each part may import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIPELINE = "data_pipeline"
KERNELS = {"mqc_jax.machine", "mqc_jax.kernels"}
MODEL = KERNELS | {"mqc_jax.config", "mqc_jax.model"}
RUN = MODEL | {"mqc_jax.checkpoint", "mqc_jax.run", PIPELINE}
ANY = {"mqc_jax", "configs", PIPELINE}
MAY_IMPORT = {
    "data_pipeline": {PIPELINE},
    "configs": {"configs", "mqc_jax.config"},
    "mqc_jax.config": {"data_pipeline.config"},
    "mqc_jax.depth": {"mqc_jax.config", "data_pipeline.config"},
    "mqc_jax.kernels": KERNELS,
    "mqc_jax.model": MODEL,
    "mqc_jax.decoding": MODEL | {"mqc_jax.decoding"},
    "mqc_jax.checkpoint": {"mqc_jax.checkpoint", PIPELINE},
    "mqc_jax.original": MODEL | {"mqc_jax.checkpoint", PIPELINE},
    "mqc_jax.run": RUN,
    "mqc_jax.training": RUN | {"mqc_jax.training"},
    "mqc_jax.laws": {"mqc_jax.laws", PIPELINE},
    "mqc_jax.evaluation": RUN | {"mqc_jax.training", "mqc_jax.laws", "mqc_jax.evaluation"},
    "mqc_jax.forecasting": RUN | {"mqc_jax.decoding", "mqc_jax.laws", "mqc_jax.forecasting"},
    "mqc_jax.machine": set(),
    "mqc_jax.compiled": {"mqc_jax.machine"},
    "mqc_jax.flags": {PIPELINE},
    "mqc_jax.commands": ANY,
    "mqc_jax.cli": ANY,
    "mqc_jax": ANY,
}
NO_PANDAS = ("mqc_jax.kernels", "mqc_jax.model", "mqc_jax.training.step", "mqc_jax.decoding")
FLAX_HOMES = ("mqc_jax.model", "data_pipeline.tokenizers.vqvae")


def modules() -> dict[str, set[str]]:
    """Every module of the product and the modules it imports."""
    found = {}
    for package in ("mqc_jax", "data_pipeline", "configs"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            imports = set()
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imports |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    assert node.level == 0, f"{name}: relative imports hide the arrow; write the full name"
                    imports.add(node.module)
            found[name] = imports
    return found


def inside(name: str, parts) -> bool:
    return any(name == part or name.startswith(part + ".") for part in parts)


@pytest.mark.parametrize("name", sorted(modules()))
def test_module_imports_only_what_stands_left_of_it(name):
    part = max((part for part in MAY_IMPORT if inside(name, [part])), key=len)
    ours = {imported for imported in modules()[name] if inside(imported, ("mqc_jax", PIPELINE, "configs"))}
    wrong = {imported for imported in ours if not inside(imported, MAY_IMPORT[part])}
    assert not wrong, f"{name} imports {wrong}; {part} may import {MAY_IMPORT[part]} only"


@pytest.mark.parametrize("name", sorted(modules()))
def test_heavy_libraries_stay_where_they_belong(name):
    imports = modules()[name]
    if inside(name, NO_PANDAS):
        assert not inside("pandas", imports), f"{name} is numeric core: no pandas"
    if any(inside(imported, ["flax"]) for imported in imports):
        assert inside(name, FLAX_HOMES), f"{name} imports flax; only {FLAX_HOMES} may"
    for banned in ("pickle", "dill", "joblib", "cloudpickle"):
        if banned in imports:
            assert name == "mqc_jax.commands.import_torch", f"{name} imports {banned}"
