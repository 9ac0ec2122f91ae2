"""Has any number moved? ``python -m metrics.regression`` scores a small set and compares it with the recorded values.

``material`` draws the set, ``measure`` scores it, ``record`` compares with results/regression/metrics.csv.
"""
