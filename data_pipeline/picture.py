"""A figure to draw on, and the PNG file it becomes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

# Chinese, Japanese and Korean on Linux, macOS and Windows: matplotlib's own font has none of them
FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "Hiragino Sans GB", "Arial Unicode MS"),
    *("Microsoft YaHei", "Malgun Gothic"),
)


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A blank figure, in inches, that becomes the PNG file `path` when the block ends well.

    Names are drawn as they stand: a `$` begins no formula, and a letter that no font here has is a box.
    """
    installed = [name for name in FONTS if name in fontManager.get_font_names()]
    with rc_context({"font.family": ["sans-serif", *installed], "text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph |Matplotlib currently does not support")
        figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(path)
