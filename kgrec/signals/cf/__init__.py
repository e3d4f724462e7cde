"""Collaborative filtering signals, which use interactions only."""

from kgrec.signals.cf.attribute_ridge import AttributeRidge
from kgrec.signals.cf.cross_domain_ae import CrossDomainAE
from kgrec.signals.cf.ease import EASE
from kgrec.signals.cf.ials import IALS
from kgrec.signals.cf.item_knn import ItemKNN
from kgrec.signals.cf.item_transitions import ItemTransitions
from kgrec.signals.cf.popularity import Popularity
from kgrec.signals.cf.user_ease import UserEASE

__all__ = ["EASE", "IALS", "AttributeRidge", "CrossDomainAE", "ItemKNN", "ItemTransitions", "Popularity", "UserEASE"]
