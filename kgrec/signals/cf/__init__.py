"""Collaborative signals: what people with like behaviour chose."""

from kgrec.signals.cf.bridge import Bridge
from kgrec.signals.cf.ease import EASE
from kgrec.signals.cf.ials import IALS
from kgrec.signals.cf.neighbours import Neighbours
from kgrec.signals.cf.popularity import Popularity
from kgrec.signals.cf.transitions import Transitions
from kgrec.signals.cf.user_ease import UserEASE

__all__ = ["EASE", "IALS", "Bridge", "Neighbours", "Popularity", "Transitions", "UserEASE"]
