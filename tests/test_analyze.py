"""Token analysis: exact counts however the tokens are cut up, and information that is not mistaken for bias."""

import io
import json
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from rich.console import Console

from data_pipeline import analyze as analysis_module
from data_pipeline import token_counts
from data_pipeline.analyze import analyze, frequent_ngrams, outliers, shuffled_next, token_statistics
from data_pipeline.analyze_report import analysis_chart, print_analysis
from data_pipeline.errors import BadInput
from data_pipeline.sources.processes import Markov, stationary_law
from data_pipeline.token_counts import TokenCounts, commonest_runs

VOCABULARY = 6
STRETCHES = st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=12), min_size=1, max_size=8).map(
    lambda stretches: [np.array(stretch, np.uint8) for stretch in stretches]
)


def random_tokens(n, vocab_size=8, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, vocab_size, n).astype(dtype)


def markov_tokens(n):
    process = Markov()
    returns = process.simulate(n, np.random.default_rng(1))
    return np.searchsorted(process.levels, returns), np.array(process.transition)


def statistics_of(tokens, vocab_size, shuffles=20):
    counts = TokenCounts.of(tokens, vocab_size)
    return token_statistics(counts, shuffled_next(tokens, vocab_size, shuffles, seed=0))


def runs_in(tokens, n):
    """Every run of n tokens, counted the slow way."""
    return Counter(tuple(s[i : i + n].tolist()) for s in tokens for i in range(len(s) - n + 1))


def by_count(counter):
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


@given(STRETCHES, st.integers(1, 5), st.integers(1, 9), st.sampled_from([1, 10**6]), st.integers(1, 50))
@settings(max_examples=150, deadline=None)
def test_runs_are_counted_exactly_within_stretches_however_they_are_blocked(tokens, n, block, dense, part):
    """The same whether counted in a table or by sorting, in blocks and parts of any size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_counts, "BLOCK", block)
        patch.setattr(token_counts, "DENSE", dense)
        patch.setattr(token_counts, "PART", part)
        runs, found = commonest_runs(tokens, VOCABULARY, n, top=7)
    expected = by_count(runs_in(tokens, n))[:7]
    assert [(tuple(run), count) for run, count in zip(runs.tolist(), found.tolist(), strict=True)] == expected


@given(STRETCHES)
@settings(max_examples=60, deadline=None)
def test_counts_are_exact_and_add_up_over_any_partition(tokens):
    whole = TokenCounts.of(tokens, VOCABULARY)
    assert whole.unigrams.sum() == sum(map(len, tokens))
    for (token,), count in runs_in(tokens, 1).items():
        assert whole.unigrams[token] == count
    pairs = runs_in(tokens, 2)
    assert {pair: int(whole.bigrams[pair]) for pair in pairs} == dict(pairs)
    assert whole.bigrams.sum() == sum(pairs.values())
    for cut in range(len(tokens)):
        parts = TokenCounts.of(tokens[:cut], VOCABULARY) + TokenCounts.of(tokens[cut:], VOCABULARY)
        np.testing.assert_array_equal(parts.unigrams, whole.unigrams)
        np.testing.assert_array_equal(parts.bigrams, whole.bigrams)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.uint64])
def test_tokens_of_any_integer_type_count_alike(dtype):
    counts = TokenCounts.of([random_tokens(500, 200, dtype=dtype)], 200)
    np.testing.assert_array_equal(counts.bigrams, TokenCounts.of([random_tokens(500, 200)], 200).bigrams)
    largest = min(np.iinfo(dtype).max, token_counts.MOST_VOCABULARY - 1)
    runs, _ = commonest_runs([np.full(9, largest, dtype)], token_counts.MOST_VOCABULARY, 5, 1)
    assert runs.tolist() == [[largest] * 5]


def test_a_heavy_token_does_not_disturb_the_order_of_the_others():
    tokens = [np.concatenate([np.zeros(5_000, np.uint8), random_tokens(3_000, 20)])]
    found = frequent_ngrams(tokens, TokenCounts.of(tokens, 128), 4)
    expected = [(run, count) for run, count in by_count(runs_in(tokens, 4))[:20] if count > 1]
    assert [(tuple(row["tokens"]), row["count"]) for row in found] == expected


def test_ngrams_come_with_their_count_under_independence_and_only_when_repeated():
    tokens = [np.tile(np.array([0, 1, 2, 3]), 250)]
    counts = TokenCounts.of(tokens, 4)
    best = frequent_ngrams(tokens, counts, 3, top=10)
    assert [row["tokens"] for row in best] == [[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]]
    assert best[0]["count"] == 250 and best[0]["expected_count"] == pytest.approx(998 / 64)
    assert best[0]["lift"] == pytest.approx(250 / (998 / 64))
    assert frequent_ngrams([np.arange(4)], TokenCounts.of([np.arange(4)], 4), 2) == []
    independent = [random_tokens(200_000)]
    assert frequent_ngrams(independent, TokenCounts.of(independent, 8), 2, 1)[0]["lift"] == pytest.approx(1, abs=0.08)


def test_transitions_of_a_markov_chain_are_its_matrix():
    tokens, transition = markov_tokens(300_000)
    counts = TokenCounts.of([tokens], 6)
    np.testing.assert_allclose(counts.transition_probabilities[:5, :5], transition, atol=0.008)
    assert np.isnan(counts.transition_probabilities[5]).all() and np.isnan(counts.lift[5]).all()
    law = stationary_law(Markov().transition)
    np.testing.assert_allclose(counts.lift[:5, :5], transition / law, atol=0.08)
    commonest = analyze([tokens[:20_000]], 6).transitions[0]
    assert (commonest["token"], commonest["next_token"]) == (2, 2)
    assert commonest["probability"] == pytest.approx(0.5, abs=0.02)
    assert commonest["lift"] == pytest.approx(0.5 / law[2], abs=0.1)


def test_entropies_of_a_markov_chain_are_the_closed_forms():
    tokens, transition = markov_tokens(300_000)
    law = stationary_law(Markov().transition)
    marginal, rate = -law @ np.log2(law), -law @ (transition * np.log2(transition)).sum(axis=1)
    s = statistics_of([tokens], 5)
    assert s["entropy_bits"] == pytest.approx(marginal, abs=0.003)
    assert s["perplexity"] == pytest.approx(2**marginal, rel=0.003)
    assert s["conditional_entropy_less_bias_bits"] == pytest.approx(rate, abs=0.003)
    assert s["order_information_bits"] == pytest.approx(marginal - rate, abs=0.003)
    assert s["order_information_z"] > 100
    found = analyze([tokens], 6).next_token.entropy_bits
    np.testing.assert_allclose(found[:5], -(transition * np.log2(transition)).sum(axis=1), atol=0.01)
    assert np.isnan(found[5])


def test_independent_tokens_seem_to_share_information_and_are_not_believed():
    s = statistics_of([random_tokens(20_000, 128)], 128)
    assert s["mutual_information_bits"] > 0.5  # all of it bias
    assert abs(s["order_information_bits"]) < 0.02 and abs(s["order_information_z"]) < 4
    assert s["conditional_entropy_less_bias_bits"] == pytest.approx(s["entropy_bits"], abs=0.02)


def test_stretches_that_differ_are_no_information_about_order():
    """Shuffled within its stretch, each keeps its own tokens."""
    s = statistics_of([random_tokens(5_000, 4), random_tokens(5_000, 4, seed=1) + 4], 8)
    assert s["mutual_information_bits"] > 0.99
    assert abs(s["order_information_z"]) < 4


def test_miller_madow_takes_the_bias_off_the_entropy():
    plug_in, corrected = [], []
    for seed in range(20):
        s = statistics_of([random_tokens(1_000, 128, seed)], 128, shuffles=2)
        plug_in.append(s["entropy_bits"])
        corrected.append(s["entropy_miller_madow_bits"])
    assert np.mean(plug_in) < 7 - 0.08
    assert np.mean(corrected) == pytest.approx(7, abs=0.006)


def test_use_of_the_vocabulary():
    s = statistics_of([np.array([3, 3, 3, 1, 1, 0])], 8)
    assert (s["tokens"], s["tokens_used"], s["vocabulary"], s["vocabulary_used_share"]) == (6, 3, 8, 3 / 8)
    assert [row["token"] for row in s["commonest"]] == [3, 1, 0]
    assert [row["token"] for row in s["rarest"]] == [0, 1, 3]
    assert s["commonest"][0] == {"token": 3, "count": 3, "share": 0.5}
    assert s["maximum_entropy_bits"] == 3


def test_outliers_know_when_where_and_how_far(monkeypatch):
    monkeypatch.setattr(analysis_module, "BLOCK", 64)
    tokens = [np.zeros(200, np.uint8), np.ones(300, np.uint8)]
    tokens[1][250], tokens[0][7], tokens[0][150] = 5, 3, 3
    returns = [np.random.default_rng(i).normal(0, 0.01, len(t)) for i, t in enumerate(tokens)]
    returns[0][130], returns[1][20] = -0.2, 0.1
    times = [np.datetime64("2024-01-01", "ns") + np.arange(len(t)) * np.timedelta64(1, "D") for t in tokens]
    found = outliers(tokens, TokenCounts.of(tokens, 8), returns=returns, times=times, names=["A", "B"], top=3)
    assert [(r["unique_id"], r["position"], r["token_count"]) for r in found["rarest_tokens"]] == [
        ("B", 250, 1),
        ("A", 7, 2),
        ("A", 150, 2),
    ]
    first, second = found["largest_returns"][:2]
    assert (first["unique_id"], first["ds"], first["log_return"]) == ("A", "2024-05-10T00:00:00", -0.2)
    assert first["z"] == pytest.approx((-0.2 - returns[0].mean()) / returns[0].std())
    assert (second["unique_id"], second["position"], second["token"]) == ("B", 20, 1)
    plain = outliers(tokens, TokenCounts.of(tokens, 8), top=1)
    assert plain["rarest_tokens"][0]["unique_id"] == "1" and plain["rarest_tokens"][0]["ds"] is None
    assert plain["largest_returns"] == []


def test_the_analysis_is_strict_json_and_the_same_every_time():
    tokens = [random_tokens(400), random_tokens(1), random_tokens(0), random_tokens(300, seed=2)]
    found = analyze(tokens, 9, shuffles=3).to_json()
    assert json.dumps(found, allow_nan=False) == json.dumps(analyze(tokens, 9, shuffles=3).to_json())
    assert found["stretches"] == 4 and np.array(found["transition_counts"]).sum() == found["transitions"] == 698
    assert set(found["frequent_ngrams"]) == {"2", "3", "4", "5"}
    other = analyze(tokens, 9, shuffles=3, seed=1).to_json()
    assert other["shuffled_mutual_information_mean_bits"] != found["shuffled_mutual_information_mean_bits"]
    assert other["mutual_information_bits"] == found["mutual_information_bits"]


def test_a_stream_of_one_token_is_analyzed_without_a_z():
    s = analyze([np.zeros(50, np.int64)], 4).statistics
    assert s["entropy_bits"] == 0 and s["order_information_bits"] == 0 and s["order_information_z"] is None


@pytest.mark.parametrize(
    ("tokens", "vocab_size", "says"),
    [
        ([np.array([0, 1]), np.array([0, 9])], 8, "stretch 1: token 9 at position 1 is outside [0, 8)"),
        ([np.array([0, -1])], 8, "token -1 at position 1"),
        ([np.array([0.0, 1.0])], 8, "1-D arrays of integers"),
        ([np.zeros((2, 2), int)], 8, "of shape (2, 2)"),
        ([np.array([0]), np.array([1])], 8, "no two tokens follow one another"),
        ([], 8, "no two tokens follow one another"),
        ([np.array([0, 1])], 5000, "1 to 4096 can"),
        ([np.array([0, 1])], 0, "1 to 4096 can"),
    ],
)
def test_what_cannot_be_analyzed_is_refused_in_one_line(tokens, vocab_size, says):
    with pytest.raises(BadInput) as error:
        analyze(tokens, vocab_size)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_particulars_of_other_shapes_are_refused():
    tokens = [random_tokens(10), random_tokens(5)]
    with pytest.raises(BadInput, match="returns: not one for every token"):
        analyze(tokens, 8, returns=[np.zeros(10), np.zeros(4)])
    with pytest.raises(BadInput, match="names: 1 for 2 stretches"):
        analyze(tokens, 8, names=["A"])
    with pytest.raises(BadInput, match="shuffles=1"):
        analyze(tokens, 8, shuffles=1)


def test_the_text_says_what_the_figures_say():
    tokens, _ = markov_tokens(5_000)
    times = np.datetime64("2024-01-01") + np.arange(5_000)
    found = analyze([tokens], 5, returns=[np.where(np.arange(5_000) == 99, 1.0, 0.0)], times=[times], names=["[X]"])
    text = io.StringIO()
    print_analysis(found, Console(file=text, soft_wrap=True, markup=False, highlight=False))
    s = found.statistics
    assert "5,000 tokens in 1 stretch use 5 of 5 ids" in text.getvalue()
    assert f"perplexity {s['perplexity']:.2f}" in text.getvalue()
    assert re.search(r"\[X\] +2024-04-09 +\d +[\d,]+ +\+1.00000 +\+70.7", text.getvalue())
    told = f"tells {s['order_information_bits']:.4f} bits of the next (z = {s['order_information_z']:.1f})"
    assert told in text.getvalue()


@pytest.mark.parametrize(
    ("tokens", "vocab_size"),
    [
        ([np.zeros(5, np.int64)], 1),  # one token
        ([np.array([0, 1, 0, 2])], 300),  # most of the vocabulary unseen, and fewer transitions than cells
        ([random_tokens(3_000, 70)], 70),  # groups that do not divide the vocabulary
    ],
)
def test_the_picture_is_drawn_for_little_and_for_much(tmp_path, tokens, vocab_size):
    analysis_chart(tmp_path / "a.png", analyze(tokens, vocab_size, shuffles=2), "tokens")
    image = imread(tmp_path / "a.png")
    assert image.shape[:2] == (840, 1650)
    assert image[..., :3].std() > 0.1


def test_the_picture_is_red_where_transitions_are_frequent_and_blue_where_they_are_rare(tmp_path):
    chain = Markov((0.0, 1.0), ((0.9, 0.1), (0.1, 0.9))).simulate(20_000, np.random.default_rng(0)).astype(int)
    analysis_chart(tmp_path / "a.png", analyze([chain], 2), "tokens")
    right = imread(tmp_path / "a.png")[150:700, 820:1500, :3]  # the heat map, its first row below
    height, width = right.shape[:2]
    quarters = [right[y, x] for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    reddish = [bool(colour[0] > colour[2]) for colour in quarters]
    assert reddish == [False, True, True, False]
