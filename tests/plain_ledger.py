"""A plain ledger in fractions: what an account of several currencies holds and is worth, without an integer trick.

The oracle of the tests of ledger and engine. Everything is a ``Fraction``; whole millionths come in only where the rules say so: a share of
the cost, what a part of a lot is paid out at, and each amount when it is told in the base currency.
"""

from fractions import Fraction
from math import floor


class PlainLedger:
    """Cash, lots, cost and marks; prices in ticks, money in millionths."""

    def __init__(self, instruments, capital, base, rates):
        self.instruments, self.base = list(instruments), base
        self.rates = {base: Fraction(1)} | {name: Fraction(rate, 10**6) for name, rate in rates.items()}
        self.cash = dict.fromkeys(self.rates, Fraction(0)) | {base: Fraction(capital)}
        self.lots = [Fraction(0)] * len(self.instruments)
        self.cost = [Fraction(0)] * len(self.instruments)
        self.marks = [None] * len(self.instruments)

    def value(self, index, price, lots):
        """What ``lots`` are worth at ``price``."""
        return Fraction(price) * lots * self.instruments[index].tick_value_micros

    def fill(self, index, signed, price, fee):
        """Lots bought or sold: average cost, what is closed takes its share."""
        lots, currency = self.lots[index], self.instruments[index].currency
        closing = Fraction(0)
        if lots * signed < 0:
            closing = min(abs(signed), abs(lots)) * (1 if lots > 0 else -1)
        share = Fraction(floor(self.cost[index] * abs(closing) / abs(lots))) if closing else Fraction(0)
        gain = self.value(index, price, closing) - share
        self.cost[index] += self.value(index, price, signed + closing) - share
        self.lots[index] += signed
        if self.marks[index] is None:
            self.marks[index] = price
        paid = self.value(index, price, signed)
        self.cash[currency] += (-paid if self.instruments[index].pays_whole_price else gain) - fee

    def flow(self, currency, amount):
        """Cash came or went."""
        self.cash[currency] += amount

    def rate(self, currency, micros):
        """A currency is worth something else."""
        self.rates[currency] = Fraction(micros, 10**6)
        self.cash.setdefault(currency, Fraction(0))

    def settle(self, index, price):
        """The gain up to ``price`` becomes cash."""
        gain = self.value(index, price, self.lots[index]) - self.cost[index]
        self.cost[index] += gain
        self.cash[self.instruments[index].currency] += gain

    def split(self, index, into, of, price):
        """New shares for old ones; the part of one is paid out."""
        exact = self.lots[index] * Fraction(into, of)
        whole = Fraction(int(exact))  # towards zero
        part = exact - whole
        self.cash[self.instruments[index].currency] += floor(self.value(index, price, part))
        if exact:
            self.cost[index] -= floor(self.cost[index] * part / exact)
        self.lots[index] = whole
        if self.marks[index] is not None:
            self.marks[index] = round(Fraction(self.marks[index] * of, into))

    def worth(self, index):
        """What the position adds to equity, in its own currency."""
        if not self.lots[index]:
            return Fraction(0)
        value = self.value(index, self.marks[index], self.lots[index])
        return value if self.instruments[index].pays_whole_price else value - self.cost[index]

    def equity(self):
        """In the base currency: each amount is rounded down by itself."""
        total = sum(floor(amount * self.rates[currency]) for currency, amount in self.cash.items())
        for index, instrument in enumerate(self.instruments):
            total += floor(self.worth(index) * self.rates[instrument.currency])
        return total
