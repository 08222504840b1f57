"""The report says what the board holds, claims no more than its intervals bear, and is a page that is safe to open."""

import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO, StringIO

import numpy as np
import pytest
import statsmodels.api as sm
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from rich.console import Console

from mqc_jax.evaluation.board import Outcomes, score, scoreboard
from mqc_jax.evaluation.comparison import Z95, edge
from mqc_jax.evaluation.pictures import (
    HUE,
    by_nats,
    calibration_chart,
    differences_chart,
    draw_pictures,
    exceedances_chart,
    pit_histogram,
)
from mqc_jax.evaluation.report import print_board, stamp, verdicts, write_html
from mqc_jax.laws.law import Student

HOSTILE = '</td><script src="https://evil.example/x.js">alert(1)</script>'
ASSETS = ["SP500", HOSTILE, r"B$\bad$ " + 40 * "x"]
SPREADS = {
    "gpt": 1.02, "garch_t": 1.1, "gjr_skew_t": 0.97, "linear": 1.3, "unconditional": 2.0, "vol_regression_range": 1.05,
}  # fmt: skip
ABOUT = {
    "run": "runs/<b>daily</b>", "source": "https://prices.example/a.csv", "splits": {"train_end": "2010-12-31"},
    "train_end": "2010-12-31", "scored_from": "2014-01-02", "scored_to": "2014-10-31", "overlap": None,
}  # fmt: skip
VOID = {"meta", "img"}


def market(n_dates, assets, seed=0):
    rng = np.random.default_rng(seed)
    asset = np.repeat(np.arange(len(assets)), n_dates)
    times = np.tile(np.arange(n_dates) + np.datetime64("2014-01-02"), len(assets)).astype("datetime64[ns]")
    volatility = 0.01 * np.exp(0.5 * np.sin(np.arange(len(asset)) / 40))
    returns = volatility * rng.standard_t(6, len(asset)) * np.sqrt(4 / 6)
    edges = volatility[:, None] * np.linspace(-2, 2, 15)
    return Outcomes(assets, asset, times, returns, volatility, edges)


def scored(outcomes):
    zero = np.zeros(len(outcomes.returns_N))
    laws = {name: Student(zero, spread * outcomes.volatility_N, 6.0) for name, spread in SPREADS.items()}
    return {name: score(law, outcomes) for name, law in laws.items()}


@pytest.fixture(scope="module")
def outcomes():
    return market(120, ASSETS)


@pytest.fixture(scope="module")
def scores(outcomes):
    return scored(outcomes)


@pytest.fixture(scope="module")
def board(scores, outcomes):
    return scoreboard(scores, outcomes)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory, board, scores, outcomes):
    return draw_pictures(tmp_path_factory.mktemp("pictures"), board, scores, outcomes)


class Page(HTMLParser):
    """A page whose tags must close in order: texts, tags with attributes, rows of tables."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.tables = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if "body" not in self.open:
            return
        if data.strip():
            self.texts.append(data.strip())
        if self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def attributes(self, *names):
        return [value for _, attrs in self.tags for name, value in attrs.items() if name in names]


def page_of(path, board, drawings, about=ABOUT):
    write_html(path, board, about, drawings)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory, board, drawings):
    return page_of(tmp_path_factory.mktemp("page") / "report.html", board, drawings)


def printed(board, width, title="Scoreboard"):
    out = StringIO()
    print_board(board, title, Console(file=out, width=width))
    return out.getvalue()


def hollow(value, hole):
    """The board with every float replaced."""
    if isinstance(value, dict):
        return {key: hollow(part, hole) for key, part in value.items()}
    if isinstance(value, list):
        return [hollow(part, hole) for part in value]
    return hole if isinstance(value, float) else value


# the page


def test_the_stamp_comes_first_then_the_verdicts(page, board):
    assert page.texts[0] == stamp(ABOUT)
    for part in ("2010-12-31", "2014-01-02", "2014-10-31", "no scored date was trained on"):
        assert part in page.texts[0]
    lines = verdicts(board)
    assert len(lines) == 3
    assert [text for text in page.texts if text in lines] == lines
    assert page.texts.index(lines[-1]) < page.texts.index("model")


def test_an_overlap_is_in_the_first_line(tmp_path, board, drawings):
    page = page_of(tmp_path / "r.html", board, drawings, ABOUT | {"overlap": "2009 was trained on & scored"})
    assert page.texts[0].endswith("WARNING: 2009 was trained on & scored")
    assert "no scored date" not in page.texts[0]


def test_the_page_needs_nothing_but_itself(page):
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "a", "base", "form", "b"}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    sources = page.attributes("src", "href", "srcset", "action", "data")
    assert len(sources) == 4
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_style_sheet_fetches_nothing(tmp_path, board, drawings):
    write_html(tmp_path / "r.html", board, ABOUT, drawings)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert "@media print" in style and "prefers-color-scheme: dark" in style


def test_pictures_inside_are_the_files(page, drawings):
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    for attrs, drawing in zip(images, drawings, strict=True):
        png = b64decode(attrs["src"].removeprefix("data:image/png;base64,"))
        assert png == drawing.path.read_bytes()
        height, width = imread(BytesIO(png)).shape[:2]
        assert int(attrs["width"]) / int(attrs["height"]) == pytest.approx(width / height, rel=0.01)
        assert attrs["alt"] == drawing.alt and len(drawing.alt) > 40
        assert drawing.caption in page.texts


def test_names_from_files_stay_text(page):
    assert [row[0] for row in page.tables[1][1:]] == ASSETS
    assert "Scoreboard of runs/<b>daily</b>" in page.texts


def test_every_heading_cell_has_its_scope(page):
    assert {attrs.get("scope") for tag, attrs in page.tags if tag == "th"} == {"col", "row"}
    for table in page.tables:
        assert len({len(row) for row in table}) == 1


def test_page_shows_the_figures_of_the_board(page, board):
    for name, nats, *_, exceeded, _, new, _, _ in page.tables[0][1:]:
        figures = board[name]
        value, error = nats.replace("\N{NO-BREAK SPACE}", " ").split(" ± ")
        assert float(value) == pytest.approx(figures["nats"], abs=6e-5)
        assert float(error) == pytest.approx(figures["nats_standard_error"], abs=6e-5)
        assert int(exceeded) == figures["var_1_exceedances"]
        if name != "gjr_skew_t":
            difference = float(new.split(" ±")[0].replace("−", "-"))
            assert difference == pytest.approx(figures["dm_vs_gjr_skew_t"], abs=6e-5)
    for asset, returns, *_ in page.tables[1][1:]:
        assert int(returns) == board["gpt"]["assets"][asset]["n_returns"]


def test_a_count_outside_its_range_is_marked(tmp_path, board, drawings):
    for hits, inside in ((3, True), (40, False)):
        changed = hollow(board, 0.5)
        changed["gpt"]["assets"]["SP500"]["risk"]["1"] |= {
            "exceedances": hits, "expected_range": [1, 6], "in_range": inside,
        }  # fmt: skip
        cell = page_of(tmp_path / "r.html", changed, drawings).tables[1][1][4]
        assert cell.startswith(f"{hits} (1") and cell.endswith("*") != inside


# the table


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_sorts_by_nats_and_fits(board, width):
    text = printed(board, width)
    assert max(map(len, text.splitlines())) <= width
    shown = re.findall(r"^(\w+) +(\d\.\d{4})", text, re.MULTILINE)
    assert [name for name, _ in shown] == sorted(SPREADS, key=lambda name: board[name]["nats"])
    assert sorted(nats for _, nats in shown) == [nats for _, nats in shown]
    for name, figures in board.items():
        assert f"±{figures['nats_standard_error']:.4f}" in text, name


def test_a_wide_console_has_a_line_per_model(board):
    line = next(line for line in printed(board, 100).splitlines() if line.startswith("garch_t"))
    figures = board["garch_t"]
    assert f"{figures['nats']:.4f}±{figures['nats_standard_error']:.4f}" in line
    assert f"{1e4 * figures['crps']:.2f}" in line and f"{100 * figures['coverage_90']:.1f}" in line


def test_brackets_in_a_title_are_no_markup(board):
    assert "runs/[bold]a[/x]" in printed(board, 100, "runs/[bold]a[/x]")


def test_order_does_not_hang_on_the_order_given(board):
    assert by_nats(dict(reversed(board.items()))) == by_nats(board)


# what is claimed


@pytest.mark.parametrize("errors", [-2.05, -1.9, 0.0, 1.9, 2.05])
@pytest.mark.parametrize("rival", ["garch_t", "gjr_skew_t", "linear"])
def test_no_edge_is_said_if_and_only_if_the_interval_holds_zero(tmp_path, board, drawings, errors, rival):
    rng = np.random.default_rng(3)
    series = rng.normal(size=500) + 0.3 * np.repeat(rng.normal(size=50), 10)
    lags = int(4 * (len(series) / 100) ** (2 / 9))
    error = sm.OLS(series, np.ones(500)).fit(cov_type="HAC", cov_kwds={"maxlags": lags}).bse[0]
    figures = {
        f"dm_vs_{rival}": errors * error,
        f"dm_vs_{rival}_standard_error": error,
        f"verdict_vs_{rival}": edge(errors * error, error, rival),
    }
    changed = board | {"gpt": board["gpt"] | figures}
    holds_zero = abs(errors) < 1.959964
    for text in (printed(changed, 100), " ".join(page_of(tmp_path / "r.html", changed, drawings).texts)):
        sentence = re.search(rf"gpt: ([a-z ]+) {rival} \(\S+ nats, 95 % interval (\S+) to (\S+)\)", text)
        assert sentence is not None
        low, high = (float(end.replace("−", "-")) for end in sentence.groups()[1:])
        assert (low <= 0 <= high) == holds_zero
        assert low == pytest.approx((errors - Z95) * error, abs=6e-5)
        said = "no edge over" if holds_zero else "better than" if errors < 0 else "worse than"
        assert sentence.group(1) == said


def test_without_an_interval_there_is_no_edge(board):
    figures = {"dm_vs_garch_t_standard_error": np.nan, "verdict_vs_garch_t": edge(-1.0, np.nan, "garch_t")}
    line = verdicts(board | {"gpt": board["gpt"] | figures})[0]
    assert line.startswith("gpt: no edge over garch_t") and "no interval" in line


# figures that are not there


@pytest.mark.parametrize("hole", [np.nan, None])
def test_missing_figures_are_dashes(tmp_path, board, scores, outcomes, hole):
    empty = hollow(board, hole)
    drawings = [
        differences_chart(tmp_path / "a.png", empty, "gjr_skew_t"),
        calibration_chart(tmp_path / "b.png", empty, scores, outcomes, "gjr_skew_t"),
    ]
    page = page_of(tmp_path / "r.html", empty, drawings)
    told = " ".join(page.texts) + printed(empty, 80)
    assert not re.search(r"\b(nan|None|inf)\b", told + " ".join(d.alt for d in drawings))
    assert [row[1] for row in page.tables[0][1:]] == ["–"] * len(board)
    assert {row[2] for row in page.tables[1][1:]} == {"–"}
    assert "– ±" not in told and "– (" not in told


def test_one_date_is_enough_for_a_report(tmp_path, recwarn):
    few = market(1, ["A"])
    found = scored(few)
    board = scoreboard(found, few)
    page = page_of(tmp_path / "r.html", board, draw_pictures(tmp_path, board, found, few))
    assert "no edge over garch_t" in " ".join(page.texts)
    assert not [w for w in recwarn if "report" in w.filename or "pictures" in w.filename]


# the pictures


def test_pictures_have_content(drawings):
    assert len({drawing.path for drawing in drawings}) == 4
    for drawing in drawings:
        ink = imread(drawing.path)[..., :3].min(axis=2) < 0.9
        assert 0.01 < ink.mean() < 0.7
        assert not ink[[0, -1]].any() and not ink[:, [0, -1]].any(), f"{drawing.path.name} touches its border"


def test_pictures_are_told_apart_without_colour(drawings):
    for drawing in drawings:
        grey = imread(drawing.path)[..., :3] @ [0.299, 0.587, 0.114]
        assert np.ptp(grey) > 0.7


def test_words_of_the_pictures_are_the_figures(drawings, board, scores, outcomes):
    differences, gains, _, exceeded = drawings
    assert f"garch_t {board['garch_t']['dm_vs_gjr_skew_t']:+.4f}".replace("-", "−") in differences.alt
    total = sum(np.mean((scores["garch_t"].nats_N - scores["gpt"].nats_N).reshape(len(ASSETS), -1), axis=0))
    assert f"{total:+.2f} ±".replace("-", "−") in gains.alt
    for number, asset in enumerate(ASSETS):
        hits = board["gpt"]["assets"][asset]["risk"]["1"]["exceedances"]
        assert f"{asset} exceedances {hits}, expected" in exceeded.alt, number


def test_a_model_far_off_does_not_squeeze_the_others(tmp_path, board):
    far = board | {"unconditional": board["unconditional"] | {"dm_vs_gjr_skew_t": 9.0}}
    near = differences_chart(tmp_path / "a.png", board, "gjr_skew_t")
    shown = differences_chart(tmp_path / "b.png", far, "gjr_skew_t")
    assert "unconditional +9.0000" in shown.alt
    assert _span(shown, HUE) > 0.9 * _span(near, HUE) > 10


def test_intervals_are_drawn_whole_on_either_side(tmp_path, board):
    spans = []
    for difference in (-0.004, 0.004):
        figures = {"dm_vs_gjr_skew_t": difference, "dm_vs_gjr_skew_t_standard_error": 0.001}
        changed = board | {"gpt": board["gpt"] | figures}
        spans.append(_span(differences_chart(tmp_path / "a.png", changed, "gjr_skew_t"), HUE))
    assert spans[0] == pytest.approx(spans[1], abs=2)


def _span(drawing, colour):
    """How many pixels wide the interval of the model is."""
    found = np.flatnonzero((abs(imread(drawing.path)[..., :3] - to_rgb(colour)) < 0.01).all(axis=2).any(axis=0))
    return np.ptp(found)


@pytest.mark.parametrize("n_assets", [1, 7, 50])
def test_any_number_of_assets_is_drawn(tmp_path, n_assets):
    many = market(20, [f"asset {number}" for number in range(n_assets)])
    mine = score(Student(np.zeros(len(many.returns_N)), many.volatility_N, 6.0), many)
    drawing = exceedances_chart(tmp_path / "a.png", mine, many)
    assert drawing.alt.count("exceedances ") == n_assets
    assert max(imread(drawing.path).shape) < 2**13


def test_pit_band_is_binomial_for_one_asset_and_no_narrower_for_its_copy():
    pit = np.random.default_rng(5).random(4000)
    times = np.arange(4000)
    share, half = pit_histogram(pit, times)
    assert share.sum() == pytest.approx(1)
    assert half == pytest.approx(1.96 * np.sqrt(0.05 * 0.95 / 4000), rel=0.01)
    assert pit_histogram(np.tile(pit, 2), np.tile(times, 2))[1] == pytest.approx(half)
    both = np.random.default_rng(6).random(8000)
    assert pit_histogram(both, np.tile(times, 2))[1] == pytest.approx(half / np.sqrt(2), rel=0.02)


def test_pit_shares_stay_within_the_band_about_as_often_as_it_says():
    outside = []
    for seed in range(100):
        share, half = pit_histogram(np.random.default_rng(seed).random(2000), np.arange(2000))
        outside.append((abs(share - 0.05) > half).mean())
    assert 0.03 < np.mean(outside) < 0.07
