"""Is an answer of the server the golden one?"""

from conch.contracts.answers import WrongAnswer, check_answer

__all__ = ["WrongAnswer", "check_answer"]
