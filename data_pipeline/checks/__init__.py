"""What is wrong with prices: found by rule, told with its evidence, cut out where no return can be trusted.

kind                 rule                                                                          what is done
-------------------  ----------------------------------------------------------------------------  -------------------
disorder             rows stand below later ones                                                   sorted
duplicate            a time twice: the prices agree, or only one row has any                       dropped
missing_price        close or adj_close is not finite; no break where the calendar is closed       dropped, break
nonpositive_price    close or adj_close is zero or less                                            dropped, break
gap                  bars that the calendar expected are missing: up to 5, or more                 kept, or break
outside_session      bars at no bar time of the calendar                                           kept
stale                ≥ 5 bars with one close and no sign of trading, longer than the series' own   kept
                     habit lets one expect 0.001 times
flat                 all closes are equal                                                          kept
ohlc_bounds          high or low lies inside the body by more than 10⁻⁶, or one is not positive    kept
spike                a bar moves by > 10σ (> 6σ where no open, high or low beside it came half     dropped, break
                     the way), > 5 times the moves around it and > 0.2 %, and the next bar takes
                     all but 5σ and a quarter of it back
unit_error           a jump of > 8σ to 10ᵏ times the price, give or take 4σ or 10 %: |k| ≥ 2, or    break
                     |k| = 1 and taken back later; a single bar of that kind is also dropped
split_unadjusted     a jump of > 8σ by a usual split ratio, give or take 3σ, to a level that       break
                     lasts, in a bar ordinary in all else; or a recorded split that the price
                     still shows
dividend_misapplied  the adjusted return differs from the price return by more than dividend,      kept to 4σ, or break
                     split and rounding explain; or the price does not answer to a payout > 8σ
large_move           |log return| > 0.4, or > 0.4 √(days since the bar before) and > 10σ, that     kept
                     is none of the above
short_history        fewer than 20 moves: no σ to judge jumps by                                   kept

σ is the usual size of a return around it (`history.usual_size`); returns are of adj_close where there is one. A stretch
of bars (missing, not positive, stale, out of bounds) is one finding. Only a time twice with different prices, or a row
without a time, is refused. No price is changed and no bar made up.

This report looks ahead: σ, spikes, splits and stale runs are judged by later bars too, as befits history. What reaches
a model is only that a bar is gone or a return is not formed. Still, history gets cleaner than live data: whether the
last bar is a spike or a split nobody can know yet, so there it is kept, and at most called a large_move. The findings
say what was taken out of a test period.
"""

from data_pipeline.checks.clean import inspect
from data_pipeline.checks.finding import KINDS, Cleaned, Finding

__all__ = ["KINDS", "Cleaned", "Finding", "inspect"]
