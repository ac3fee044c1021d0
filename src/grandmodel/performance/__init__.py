"""Returns, drawdown and ratios: what a curve of equity says, and how sure one can be of it.

``ratios`` has the Sharpe and Sortino ratio with their errors, ``drawdown`` the way below the peak, ``periods`` how many trading
days and hours an instrument's own sessions make of a year.
"""
