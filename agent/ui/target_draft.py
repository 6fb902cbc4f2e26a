"""What the target dialog holds before it is sent, and whether OMERO would take it. Pure.

Ids win over names; a name without an id is something new. Whether OMERO allows it is said before sending, so
that nobody learns of a wrong group after the upload.
"""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QCoreApplication

from agent.core.template import TargetSuggestion
from agent.ui.theme import Tone
from server_bridge.contract import Container, Group, KeyValue, PermissionLevel, Target, TargetKind

_tr = QCoreApplication.translate


@dataclass(frozen=True, slots=True)
class Choice:
    """What stands in a field for a container: nothing, an existing one, or the name of a new one."""

    name: str = ""
    id: int | None = None
    may_add: bool | None = None
    """OMERO's answer; None when it has not been asked (a recent target while the bridge is away)."""
    owner: str = ""
    ambiguous: bool = False
    """Several existing containers have this name: the person must pick one from the list."""
    looking: bool = False
    """The search for this name has not been answered yet."""
    unchecked: bool = False
    """The search failed: nobody knows whether this name exists."""

    @property
    def is_empty(self) -> bool:
        return self.id is None and not self.name.strip()

    @property
    def is_new(self) -> bool:
        return self.id is None and bool(self.name.strip())

    @classmethod
    def of(cls, container: Container) -> Choice:
        return cls(container.name, container.id, container.may_add, container.owner)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The dialog's last line."""

    tone: Tone
    text: str
    may_send: bool


@dataclass(frozen=True, slots=True)
class TargetDraft:
    group: Group | None = None
    kind: TargetKind = TargetKind.DATASET
    project: Choice = Choice()
    container: Choice = Choice()
    tags: tuple[str, ...] = ()
    key_values: tuple[KeyValue, ...] = ()
    description: str = ""

    def target(self) -> Target:
        """Return the target. Raises ValueError when the draft is not complete."""
        if self.group is None:
            raise ValueError("a target needs a group")
        project = self.project if self.kind is TargetKind.DATASET else Choice()
        return Target(
            group_id=self.group.id,
            group_name=self.group.name,
            kind=self.kind,
            container_id=self.container.id,
            container_name=self.container.name.strip(),
            project_id=project.id,
            project_name=project.name.strip(),
            tags=self.tags,
            key_values=self.key_values,
            description=self.description.strip(),
        )

    def verdict(self, owner: str = "") -> Verdict:
        """Return what OMERO would say, in one sentence, as far as it is known.

        Args:
            owner: somebody else whom it will belong to, where staff order for her.
        """
        missing = self._missing()
        if missing:
            return Verdict(Tone.PLAIN, missing, may_send=False)
        name = self.container.name or f"#{self.container.id}"
        if self.project.looking or self.container.looking:
            return Verdict(Tone.PLAIN, _tr("verdict", "Asking OMERO…"), may_send=False)
        if self.container.id is not None:
            return self._existing(name, owner)
        return self._new(name, owner)

    def _kind_word(self) -> str:
        return _tr("verdict", "screen") if self.kind is TargetKind.SCREEN else _tr("verdict", "dataset")

    def _missing(self) -> str:
        kind = self._kind_word()
        if self.group is None:
            return _tr("verdict", "Choose the group whose members may see it.")
        if self.container.is_empty:
            return _tr("verdict", "Choose a {kind}, or type the name of a new one.").format(kind=kind)
        if self.container.ambiguous or self.project.ambiguous:
            return _tr("verdict", "More than one has this name: pick the one you mean from the list.")
        return ""

    def _existing(self, name: str, whose: str) -> Verdict:
        if self.container.may_add is False:
            owner = self.container.owner or _tr("verdict", "somebody else")
            level = self.group.permissions if self.group else PermissionLevel.PRIVATE
            return Verdict(
                Tone.NEEDS_YOU,
                _tr(
                    "verdict",
                    "OMERO will not let you add to {name}: it belongs to {owner} and the group is {level}. "
                    "Choose another, or type the name of a new one.",
                ).format(name=name, owner=owner, level=level.value),
                may_send=False,
            )
        if self.container.may_add is None or self.container.unchecked:
            return Verdict(
                Tone.PLAIN,
                _tr(
                    "verdict",
                    "OMERO cannot be asked now. The order is kept here, and the bridge checks {name} before "
                    "anything is copied.",
                ).format(name=name),
                may_send=True,
            )
        plate = self.kind is TargetKind.SCREEN
        if whose and plate:
            sentence = _tr("verdict", "{whose} may add to {name}. The plate will belong to {whose}.")
        elif whose:
            sentence = _tr("verdict", "{whose} may add to {name}. The images will belong to {whose}.")
        elif plate:
            sentence = _tr("verdict", "You may add to {name}. The plate will belong to you.")
        else:
            sentence = _tr("verdict", "You may add to {name}. The images will belong to you.")
        return Verdict(Tone.ACCENT, sentence.format(name=name, whose=whose), may_send=True)

    def _new(self, name: str, whose: str) -> Verdict:
        in_project = self.kind is TargetKind.DATASET and not self.project.is_empty
        if in_project and self.project.id is not None and self.project.may_add is False:
            return Verdict(
                Tone.NEEDS_YOU,
                _tr(
                    "verdict",
                    "OMERO will not let you add a dataset to {project}: it belongs to {owner}. Choose "
                    "another project, or leave it empty.",
                ).format(
                    project=self.project.name, owner=self.project.owner or _tr("verdict", "somebody else")
                ),
                may_send=False,
            )
        if whose:
            text = _tr("verdict", "A new {kind} {name} will be made. It will belong to {whose}.")
        elif self.kind is TargetKind.SCREEN:
            text = _tr("verdict", "A new screen {name} will be made. It will belong to you.")
        elif in_project and self.project.is_new:
            text = _tr("verdict", "A new project {project} with a new dataset {name} will be made.")
        elif in_project:
            text = _tr("verdict", "A new dataset {name} will be made in {project}. It will belong to you.")
        else:
            text = _tr("verdict", "A new dataset {name} will be made, outside of any project.")
        text = text.format(name=name, project=self.project.name, kind=self._kind_word(), whose=whose)
        if self.container.unchecked or self.project.unchecked:
            later = _tr("verdict", "OMERO cannot be asked now; one of this name is used if there is one.")
            return Verdict(Tone.PLAIN, f"{text} {later}", may_send=True)
        return Verdict(Tone.ACCENT, text, may_send=True)


def draft_from(target: Target, groups: tuple[Group, ...]) -> TargetDraft:
    """Return the draft that a recent target fills in; nothing is known of its permissions yet."""
    known = next((group for group in groups if group.id == target.group_id), None)
    return TargetDraft(
        group=known,
        kind=target.kind,
        project=Choice(target.project_name, target.project_id),
        container=Choice(target.container_name, target.container_id),
        tags=target.tags,
        key_values=target.key_values,
        description=target.description,
    )


def draft_from_suggestion(suggestion: TargetSuggestion, groups: tuple[Group, ...]) -> TargetDraft:
    """Return the draft that an acquisition's place suggests: names only, OMERO is asked for their ids."""
    name = suggestion.group_name.casefold()
    return TargetDraft(
        group=next((group for group in groups if name and group.name.casefold() == name), None),
        kind=suggestion.kind,
        project=Choice(suggestion.project_name),
        container=Choice(suggestion.container_name),
        tags=suggestion.tags,
    )


def place_text(target: Target) -> str:
    """Return ``Group › Project``, the second line of a recent target."""
    parts = [target.group_name or str(target.group_id)]
    if target.kind is TargetKind.SCREEN:
        parts.append(_tr("verdict", "screen"))
    elif target.project_name:
        parts.append(target.project_name)
    return " › ".join(parts)


def target_text(target: Target) -> str:
    """Return ``Group › Project › Dataset``."""
    return f"{place_text(target)} › {target.container_name or target.container_id}"
