from .config import Config as Config
from .data.interactions import from_interactions as from_interactions
from .data.schema import Schema as Schema
from .data.snapshot import GraphSnapshot as GraphSnapshot
from .data.split import Split as Split
from .data.tables import GraphTables as GraphTables
from .errors import DataError as DataError
from .errors import KgrecError as KgrecError
from .errors import NotFittedError as NotFittedError
from .errors import RunError as RunError
from .errors import SchemaError as SchemaError
from .errors import StoreError as StoreError
from .errors import StoreLocked as StoreLocked
from .errors import UnknownItem as UnknownItem
from .errors import UnknownUser as UnknownUser
from .errors import UsageError as UsageError
from .evaluation.split import split as split
from .metrics.frames import evaluate as evaluate
from .recommender import Recommender as Recommender
from .store import open as open
from .store.load import load as load

__version__: str
