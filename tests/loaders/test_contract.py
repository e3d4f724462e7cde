"""Every shipped loader keeps the contract of loaders."""

from __future__ import annotations

from kgrec.data.schema import Schema
from kgrec.testing.loader_contract import LoaderContract
from loaders.atomic import AtomicLoader
from loaders.movielens import MovieLensLoader
from loaders.rdf import RdfLoader
from loaders.tables import TablesLoader

MAPPING = "relationships:\n  PURCHASED: {source: orders.csv}\n"
HEADER = "user_id,product_id,quantity,timestamp\n"
FILMS = Schema.parse(
    """
    name: films
    nodes:
      Viewer: {key: viewer_id, properties: {age: int}}
      Film: {key: film_id}
    relationships: {SAW: {from: Viewer, to: Film}}
    roles: {users: Viewer, items: Film, behaviours: {SAW: {}}}
    rdf: {base: "http://example.org/"}
    """
)
SAW = "<http://example.org/{}> <http://example.org/SAW> <http://example.org/{}> .\n"
AGE = '<http://example.org/{}> <http://example.org/age> "{}"^^<http://www.w3.org/2001/XMLSchema#integer> .\n'


class TestAtomicLoader(LoaderContract):
    loader = AtomicLoader
    files = {
        "shop.inter": "user_id:token\titem_id:token\trating:float\nu1\ti1\t5\nu2\ti1\t4\nu1\ti2\t3\n",
        "shop.item": "item_id:token\ttitle:token_seq\ni1\tA pen\ni2\tInk\n",
    }
    broken = {"shop.inter": "user_id:token\titem_id:token\trating:float\nu1\ti1\tgood\nu2\ti1\t4\n\ti2\t3\n"}
    problems = {"shop.inter:2", "shop.inter:4"}


class TestMovieLensLoader(LoaderContract):
    loader = MovieLensLoader
    files = {
        "u.data": "1\t242\t3\t881250949\n1\t2\t4\t881250950\n",
        "u.user": "1|49|M|writer|05105\n",
        "u.item": "242|Kolya (1996)|24-Jan-1997||http://x|0|0|0|0|0|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
        "2|GoldenEye (1995)|01-Jan-1995||http://x|0|1|0|0|0|0|0|0|1|0|0|0|0|0|0|0|0|0|0\n",
    }
    broken = {"u.data": "1\t242\tgood\t881250949\n1\t2\t4\t881250950\n\t2\t4\t881250950\n"}
    problems = {"u.data:1", "u.data:3"}


class TestTablesLoader(LoaderContract):
    loader = TablesLoader
    files = {"map.yaml": MAPPING, "orders.csv": f"{HEADER}u1,p1,1,10\nu2,p1,2,20\nu1,p2,1,30\n"}
    broken = {"orders.csv": f"{HEADER}u1,p1,many,10\nu2,p1,2,20\n,p2,1,30\n"}
    problems = {"orders.csv:2", "orders.csv:4"}
    start, schema = "map.yaml", "commerce"


class TestRdfLoader(LoaderContract):
    loader = RdfLoader
    files = {"films.nt": SAW.format("ann", "alien") + SAW.format("ben", "alien") + AGE.format("ann", 40)}
    broken = {
        "films.nt": AGE.format("ann", "old")
        + SAW.format("ann", "alien")
        + SAW.format("ben", "alien")
        + AGE.format("ben", "young")
    }
    problems = {"films.nt:1", "films.nt:4"}
    start, schema = "films.nt", FILMS
