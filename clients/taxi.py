"""Gymnasium's Taxi (v3, the same in v4 without rain): a world of 500 states that `conch call drive` drives in.

A grid of 5x5 with walls, a passenger who waits at one of four places or rides, and a place where he wants to go.
"""

from dataclasses import dataclass, replace

MAP = (
    "+---------+",
    "|R: | : :G|",
    "| : | : : |",
    "| : : : : |",
    "| | : | : |",
    "|Y| : |B: |",
    "+---------+",
)
PLACES = ((0, 0), (0, 4), (4, 0), (4, 3))
NAMES = "RGYB"
RIDES = 4
STATES = 500
ACTIONS = ("south", "north", "east", "west", "pick up", "drop off")


@dataclass(frozen=True)
class Taxi:
    """One state."""

    row: int
    column: int
    passenger: int
    """The place where he waits, or RIDES."""
    goal: int
    """The place where he wants to go."""

    @classmethod
    def of(cls, state: int) -> "Taxi":
        """The state of that number, 0 to 499."""
        rest, goal = divmod(state, len(PLACES))
        rest, passenger = divmod(rest, len(PLACES) + 1)
        return cls(*divmod(rest, 5), passenger, goal)

    @property
    def number(self) -> int:
        """Of the state: what the model takes."""
        return ((self.row * 5 + self.column) * 5 + self.passenger) * 4 + self.goal

    @property
    def may_begin(self) -> bool:
        """Whether an episode may begin so: the passenger waits, and not where he wants to go."""
        return self.passenger not in (RIDES, self.goal)

    def after(self, action: int) -> tuple["Taxi", int, bool]:
        """What an action leads to, its reward, and whether it delivered the passenger."""
        place = PLACES.index((self.row, self.column)) if (self.row, self.column) in PLACES else None
        if action == 4:
            found = self.passenger == place
            return (replace(self, passenger=RIDES), -1, False) if found else (self, -10, False)
        if action == 5:
            if self.passenger != RIDES or place is None:
                return self, -10, False
            there = place == self.goal
            return replace(self, passenger=place), 20 if there else -1, there
        return self._moved(action), -1, False

    def _moved(self, action: int) -> "Taxi":
        """Walls are passed on no side: there it stays where it is."""
        if action < 2:
            return replace(self, row=min(max(self.row + (1, -1)[action], 0), 4))
        wall = MAP[self.row + 1][2 * self.column + (2 if action == 2 else 0)]
        return replace(self, column=self.column + (1 if action == 2 else -1)) if wall == ":" else self

    def drawn(self) -> str:
        """The map: T the taxi, t one with its passenger; * where he waits, ! where he wants to go."""
        lines = [list(line) for line in MAP]
        for place, mark in ((self.goal, "!"), (self.passenger, "*")):
            if place != RIDES:
                row, column = PLACES[place]
                lines[row + 1][2 * column + 1] = mark
        lines[self.row + 1][2 * self.column + 1] = "t" if self.passenger == RIDES else "T"
        return "\n".join(map("".join, lines))
