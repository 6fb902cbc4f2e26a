"""The right side of the target dialog: group, kind, project, dataset or screen, tags, pairs, description."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QPlainTextEdit, QVBoxLayout, QWidget

from agent.core.template import TargetSuggestion
from agent.ui.container_picker import ContainerPicker
from agent.ui.key_value_table import KeyValueTable
from agent.ui.ports import PlacesPort
from agent.ui.tag_field import TagField
from agent.ui.target_draft import TargetDraft, draft_from, draft_from_suggestion
from agent.ui.widgets import label
from server_bridge.contract import ContainerList, Group, TagList, Target, TargetKind


class TargetForm(QWidget):
    """Edits one draft; ``changed`` after each change, however small."""

    changed = Signal()
    trouble = Signal(object)
    """AgentError of a search."""

    def __init__(self, targets: PlacesPort, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._targets = targets
        self._groups: tuple[Group, ...] = ()
        self._filling = False
        self._project_id: int | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)

        grid = QGridLayout()
        grid.setHorizontalSpacing(14)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        self.group = QComboBox()
        self.group.setAccessibleName(self.tr("Group"))
        self.kind = QComboBox()
        self.kind.setAccessibleName(self.tr("Kind"))
        self.kind.addItem(self.tr("Dataset"), TargetKind.DATASET)
        self.kind.addItem(self.tr("Screen, for plates"), TargetKind.SCREEN)
        for number, (text, field) in enumerate(
            ((self.tr("Group"), self.group), (self.tr("Kind"), self.kind))
        ):
            caption = label(text, "fieldLabel")
            caption.setBuddy(field)
            grid.addWidget(caption, 0, number)
            grid.addWidget(field, 1, number)
            field.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            field.setMinimumContentsLength(8)
        grid.setRowMinimumHeight(2, 4)
        self.project = ContainerPicker("project")
        self.container = ContainerPicker("dataset")
        self._grid = grid
        grid.addWidget(self.project, 3, 0)
        grid.addWidget(self.container, 3, 1)
        column.addLayout(grid)

        self.tags = TagField()
        self.pairs = KeyValueTable()
        self.description = QPlainTextEdit()
        self.description.setTabChangesFocus(True)
        self.description.setFixedHeight(58)
        self.description.setAccessibleName(self.tr("Description"))
        self.description.setPlaceholderText(self.tr("What a colleague should know (optional)"))
        for text, widget in (
            (self.tr("Tags"), self.tags),
            (self.tr("Key-value pairs"), self.pairs),
            (self.tr("Description"), self.description),
        ):
            column.addSpacing(6)
            column.addWidget(label(text, "fieldLabel"))
            column.addWidget(widget)

        self.group.currentIndexChanged.connect(self._group_changed)
        self.kind.currentIndexChanged.connect(self._kind_changed)
        self.project.changed.connect(self._project_changed)
        self.container.changed.connect(self._tell)
        self.tags.changed.connect(self._tell)
        self.pairs.changed.connect(self._tell)
        self.description.textChanged.connect(self._tell)
        for picker in (self.project, self.container):
            picker.trouble.connect(self.trouble)

    # --- in and out -----------------------------------------------------------------------------------

    def show_places(self, places: PlacesPort, groups: Sequence[Group], default_id: int | None) -> None:
        """Search as somebody else from now on; what was chosen among other people's places goes."""
        self._targets = places
        self._filling = True
        self.project.clear()
        self.container.clear()
        self._project_id = None
        self._filling = False
        self.show_groups(groups, default_id)

    def show_groups(self, groups: Sequence[Group], default_id: int | None = None) -> None:
        """List the person's groups and choose her usual one."""
        self._groups = tuple(groups)
        self._filling = True
        self.group.clear()
        for group in self._groups:
            self.group.addItem(f"{group.name}  ({group.permissions.value})", group)
        self._select_group(default_id)
        self._filling = False
        self._search_again()
        self._tell()

    def has_groups(self) -> bool:
        return bool(self._groups)

    def draft(self) -> TargetDraft:
        group = self.group.currentData()
        return TargetDraft(
            group=group if isinstance(group, Group) else None,
            kind=self._kind(),
            project=self.project.choice,
            container=self.container.choice,
            tags=self.tags.tags,
            key_values=self.pairs.pairs,
            description=self.description.toPlainText()[:10_000],
        )

    def fill(self, target: Target) -> None:
        """Fill everything from a target and ask OMERO quietly whether it still stands."""
        draft = draft_from(target, self._groups)
        self._filling = True
        if draft.group is None:
            # A recent target of a group that cannot be listed now (offline): keep its name and id.
            draft_group = Group.model_validate(
                {"id": target.group_id, "name": target.group_name or str(target.group_id),
                 "permissions": "private"}
            )  # fmt: skip
            self.group.addItem(draft_group.name, draft_group)
            self._groups = (*self._groups, draft_group)
        self._select_group(target.group_id)
        self.kind.setCurrentIndex(self.kind.findData(draft.kind))
        self._show_kind()
        self._search_again()
        self.project.set_choice(draft.project)
        self._project_id = draft.project.id
        self._search_container()
        self.container.set_choice(draft.container)
        self.tags.set_tags(draft.tags)
        self.pairs.set_pairs(draft.key_values)
        self.description.setPlainText(draft.description)
        self._filling = False
        for picker in (self.project, self.container):
            if not picker.choice.is_empty:
                picker.popup.look_now()
        self._tell()

    def suggest(self, suggestion: TargetSuggestion) -> None:
        """Fill in what the acquisition's place suggests; OMERO is asked whether such a container exists."""
        draft = draft_from_suggestion(suggestion, self._groups)
        self._filling = True
        if draft.group is not None:
            self._select_group(draft.group.id)
        self.kind.setCurrentIndex(self.kind.findData(draft.kind))
        self._show_kind()
        self._search_again()
        self.project.set_choice(draft.project)
        self.container.set_choice(draft.container)
        self.tags.set_tags(draft.tags)
        self._filling = False
        # Datasets are looked for in their project: first the one is found, then the other.
        first = self.container if self.project.choice.is_empty else self.project
        if not first.choice.is_empty:
            first.popup.look_now()
        self._tell()

    # --- what depends on what -------------------------------------------------------------------------

    def _kind(self) -> TargetKind:
        return TargetKind(self.kind.currentData())

    def _select_group(self, group_id: int | None) -> None:
        number = next((n for n, g in enumerate(self._groups) if g.id == group_id), 0)
        self.group.setCurrentIndex(number if self._groups else -1)

    def _group_changed(self) -> None:
        if self._filling:
            return
        self._search_again()
        self.project.clear()
        self.container.clear()
        self._tell()

    def _kind_changed(self) -> None:
        if self._filling:
            return
        self._show_kind()
        self.container.clear()
        self._search_container()
        self._tell()

    def _show_kind(self) -> None:
        screen = self._kind() is TargetKind.SCREEN
        self.container.set_kind("screen" if screen else "dataset")
        self.project.setVisible(not screen)
        self._grid.removeWidget(self.container)
        self._grid.addWidget(self.container, 3, 0 if screen else 1, 1, 2 if screen else 1)

    def _project_changed(self) -> None:
        if self._filling:
            return
        chosen = self.project.choice
        if not chosen.looking and chosen.id != self._project_id:
            self._project_id = chosen.id
            self._search_container()
            if self.container.choice.id is not None:
                # The dataset that was chosen may stand in another project.
                self.container.clear()
            elif self.container.choice.is_new:
                self.container.popup.look_now()
        self._tell()

    def _search_again(self) -> None:
        group = self.group.currentData()
        if not isinstance(group, Group):
            for picker in (self.project, self.container):
                picker.set_search(None)
            self.tags.set_search(None)
            return
        group_id = group.id

        def projects(query: str) -> Future[ContainerList]:
            return self._targets.containers(group_id, "project", None, query)

        def tags(query: str) -> Future[TagList]:
            return self._targets.tags(group_id, query)

        self.project.set_search(projects)
        self.tags.set_search(tags)
        self._search_container()

    def _search_container(self) -> None:
        group = self.group.currentData()
        if not isinstance(group, Group):
            return
        group_id, kind = group.id, self._kind().value
        project_id = self.project.choice.id if self._kind() is TargetKind.DATASET else None

        def containers(query: str) -> Future[ContainerList]:
            return self._targets.containers(group_id, kind, project_id, query)

        self.container.set_search(containers)

    def _tell(self) -> None:
        if not self._filling:
            self.changed.emit()
