"""What requests and responses contain."""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kgrec.events.event import Event
from kgrec.serve.limits import MAX_EVENTS, MAX_EXCLUDED, MAX_ID_LENGTH, MAX_K, MAX_TEXT_LENGTH

Source = Literal["published", "live", "session", "popular"]
"""How a list was made; see kgrec/serve/answers.py."""


NO_NULL: Final = r"^[^\x00]*$"
"""Pattern of a text without null characters, which no engine stores."""

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH, pattern=NO_NULL)]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_LENGTH, pattern=NO_NULL)]
K = Annotated[int, Field(ge=1, le=MAX_K, description="Length of the list.")]


class _Given(BaseModel):
    """What a caller gives; numbers in a URL are texts, those in a body are numbers."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Body(_Given):
    model_config = ConfigDict(strict=True)


class ListQuery(_Given):
    """What a list must satisfy."""

    k: K = 10
    domain: Id | None = Field(default=None, description="Only items of this domain.")
    where: list[Text] = Field(default=[], max_length=20, description="Condition on a property, such as price<50.")
    exclude: list[Id] = Field(default=[], max_length=MAX_EXCLUDED, description="Items that may not be listed.")


class UserListQuery(ListQuery):
    """What the list of a user must satisfy."""

    explain: bool = Field(default=False, description="Whether to add the reasons of each item.")


class Reason(BaseModel):
    """A path in the graph from the user to the item."""

    text: str = Field(examples=["user 196 – Jaws – 120 users – Alien"])
    strength: float = Field(description="Share among the paths of its kind, 0 to 1.", examples=[0.4])


class Recommended(BaseModel):
    """One item of a list."""

    item_id: str = Field(examples=["242"])
    name: str = Field(examples=["Kolya"])
    rank: int = Field(examples=[1])
    score: float = Field(examples=[3.2])
    graph: float = Field(description="Share of the score by graph signals.", examples=[1.1])
    cf: float = Field(description="Share of the score by collaborative filtering.", examples=[1.9])
    content: float = Field(description="Share of the score by content.", examples=[0.2])
    reasons: list[Reason] | None = Field(default=None, description="With explain=true.")


class Recommendations(BaseModel):
    """A list of items."""

    release: str = Field(description="The run that the list comes from.", examples=["20261128-043000"])
    source: Source = Field(
        description="published: the published list. live: scored now. session: scored from events. popular: popularity."
    )
    wanted: int = Field(description="The k of the request.", examples=[10])
    arm: str | None = Field(default=None, description="The user's arm of the A/B test.")
    items: list[Recommended] = Field(description="Best first; fewer than wanted if no more items may be listed.")


class SessionEvent(_Body):
    """Something that a visitor did."""

    item_id: Id = Field(examples=["50"])
    behavior: Id | None = Field(default=None, description="A behavior of the schema. Default: the most frequent one.")
    timestamp: float | None = Field(default=None, description="Epoch seconds. Default: in the order given.")
    weight: float | None = Field(default=None, description="Strength, such as a rating.")


class Session(_Body, ListQuery):
    """An anonymous visitor: latest events, a text, or both. Nothing is stored."""

    events: list[SessionEvent] = Field(default=[], max_length=MAX_EVENTS, description="Oldest first.")
    text: Text | None = Field(default=None, examples=["robots in space"])

    @model_validator(mode="after")
    def _is_known(self) -> Session:
        if not self.events and self.text is None:
            raise ValueError("neither events nor a text. Expected one of them, or both")
        return self


class Search(_Body, ListQuery):
    """A free text."""

    text: Text = Field(examples=["robots in space"])


class SimilarItem(BaseModel):
    """An item that is similar to another."""

    item_id: str = Field(examples=["172"])
    name: str = Field(examples=["The Empire Strikes Back"])
    rank: int = Field(examples=[1])
    score: float = Field(examples=[0.9])


class SimilarItems(BaseModel):
    """Items similar to one."""

    release: str
    items: list[SimilarItem]


class Item(BaseModel):
    """An item and its properties."""

    release: str
    item_id: str
    name: str
    label: str
    domain: str
    users: int = Field(description="Users who chose the item.")
    properties: dict[str, Any]


class User(BaseModel):
    """A user and their latest interactions."""

    release: str
    user_id: str
    label: str
    properties: dict[str, Any]
    interactions: int = Field(description="Items that the model knows the user chose.")
    latest: list[str] = Field(description="The latest of these items, newest first.")
    events: int = Field(description="Events that the model has not learned from.")


class Explained(BaseModel):
    """Why an item has its score for a user."""

    release: str
    user_id: str
    item_id: str
    name: str
    score: float
    rank: int | None = Field(description="Among the items the user has not chosen; null for a chosen one.")
    shares: dict[str, float] = Field(description="Signal → its share; the shares add up to the score.")
    paths: list[Reason]


class GivenEvent(_Body):
    """A behavior of a user."""

    event_id: Id | None = Field(default=None, description="Sent again, it is ignored. Default: a new one.")
    user_id: Id = Field(examples=["196"])
    item_id: Id = Field(examples=["50"])
    behavior: Id = Field(description="A behavior of the schema, or dismissed.", examples=["RATED"])
    timestamp: float | None = Field(default=None, ge=0, description="Epoch seconds. Default: now.")
    weight: float | None = Field(
        default=None, description="Strength, such as a rating; needed if the behavior has one.", examples=[5]
    )

    def as_event(self) -> Event:
        """Return the event, with an id and a time."""
        known = self.event_id or uuid.uuid4().hex
        at = time.time() if self.timestamp is None else self.timestamp
        return Event(known, self.user_id, self.item_id, self.behavior, at, self.weight)


class Events(_Body):
    """Behaviors of users."""

    events: list[GivenEvent] = Field(min_length=1, max_length=MAX_EVENTS)


class EventOutcome(BaseModel):
    """What became of an event."""

    event_id: str
    outcome: Literal["accepted", "duplicate", "rejected"]
    reason: str | None = Field(default=None, description="Why it was rejected.")


class EventsTaken(BaseModel):
    """What became of events. All of this is on disk."""

    accepted: int
    duplicates: int
    rejected: int
    outcomes: list[EventOutcome] = Field(description="Of each event that was not accepted, or has an id given here.")


class Query(_Body):
    """A read-only query in the language of the graph."""

    query: str = Field(
        min_length=1, max_length=20_000, pattern=NO_NULL, examples=["MATCH (u:User) RETURN count(*) AS users"]
    )
    parameters: dict[str, str | float | bool | None] = {}


class Rows(BaseModel):
    """The result of a query."""

    columns: list[str]
    rows: list[list[Any]]


class NamedQuery(BaseModel):
    """A named query."""

    name: str = Field(examples=["coverage"])
    what: str
    parameters: str


class NamedQueries(BaseModel):
    """The named queries."""

    queries: list[NamedQuery]


class ReleaseInfo(BaseModel):
    """A published run."""

    release: str | None
    since: str | None = Field(description="Time of the publication, ISO 8601 in UTC.")
    metrics: dict[str, float] = Field(description="Of the hybrid, on the run's test split.")
    users: int
    items: int
    earlier: list[str] = Field(description="Runs published before, latest first.")


class State(BaseModel):
    """State of the service."""

    state: Literal["live", "ready", "not ready"]
    release: str | None = None
