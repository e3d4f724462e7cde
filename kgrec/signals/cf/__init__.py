"""Collaborative signals: what people with like behaviour chose."""

from kgrec.signals.cf.cross_domain_ae import Bridge
from kgrec.signals.cf.ease import EASE
from kgrec.signals.cf.ials import IALS
from kgrec.signals.cf.item_knn import Neighbours
from kgrec.signals.cf.item_transitions import Transitions
from kgrec.signals.cf.popularity import Popularity
from kgrec.signals.cf.user_ease import UserEASE

__all__ = ["EASE", "IALS", "Bridge", "Neighbours", "Popularity", "Transitions", "UserEASE"]
