"""The agent's one exception family; what the bridge says travels through it to the card unchanged."""

from __future__ import annotations

from server_bridge.contract import Problem, Reason


class AgentError(Exception):
    """Something the person or staff should know, in their words."""

    code = "agent"
    title = "Something went wrong"

    def __init__(
        self, detail: str = "", *, code: str = "", title: str = "", remedy: str = "", contact: str = ""
    ) -> None:
        self.code = code or type(self).code
        self.title = title or type(self).title
        self.detail = detail
        self.remedy = remedy
        self.contact = contact
        super().__init__(f"{self.code}: {self.title}{': ' + detail if detail else ''}")

    def reason(self) -> Reason:
        """The error as a card or the header shows it."""
        return Reason(
            code=self.code, title=self.title, detail=self.detail, remedy=self.remedy, contact=self.contact
        )


class BridgeRefused(AgentError):
    """The bridge answered no; trying the same again will not help."""

    code = "refused"
    title = "The bridge refused"

    def __init__(self, problem: Problem) -> None:
        super().__init__(
            problem.detail,
            code=problem.code,
            title=problem.title,
            remedy=problem.remedy,
            contact=problem.contact,
        )
        self.status = problem.status


class BridgeAway(AgentError):
    """No answer, or one that says "later": the outbox keeps it and tries again."""

    code = "bridge_away"
    title = "The bridge does not answer"


class ShareAway(AgentError):
    """The share or its marker is not there: an outage, never a deletion."""

    code = "share_away"
    title = "The share does not answer"


class SettingsError(AgentError):
    """A setting is missing or wrong; the text says which and where it came from."""

    code = "settings"
    title = "A setting needs attention"
