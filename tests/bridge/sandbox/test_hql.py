"""Queries: what the translation must get right, and that what it lacks is refused aloud."""

from __future__ import annotations

from typing import Any

import omero
import omero.sys
import pytest
from omero.rtypes import rlist, rlong, rstring, unwrap

from server_bridge.sandbox.hql.nodes import HqlError
from server_bridge.sandbox.hql.parser import parse
from tests.bridge.sandbox.conftest import Connect, rows


@pytest.fixture
def alice(connect: Connect) -> Any:
    with connect("alice") as connection:
        yield connection


@pytest.mark.parametrize(
    "text",
    [
        "select p.name Project p",
        "select p from Project p where",
        "select p from Project p where p.name = ;",
        "select p from Project p order p.name",
        "delete from Project p",
        "select p from Project p right join p.datasetLinks l",
        "select p from Project p where p.name not 3",
    ],
)
def test_nonsense_is_refused_by_the_parser(text: str) -> None:
    with pytest.raises(HqlError):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "select x from Nonsense x",
        "select p.nonsense from Project p",
        "select p.datasetLinks.child.name from Project p",
        "select p from Project p where p.name = :missing",
        "select p from Project p where p.id in (:empty)",
        "select soundex(p.name) from Project p",
        "select p.name from Project p, Dataset p",
        "select q.name from Project p",
        "select p.name from Project p where p.id = '1'",
        "select p.name from Project p where p.id in (:words)",
    ],
)
def test_what_is_not_understood_is_a_query_exception_that_quotes_it(alice: Any, text: str) -> None:
    parameters = omero.sys.ParametersI()
    parameters.map["empty"] = rlist([])
    parameters.map["words"] = rlist([rstring("1")])
    with pytest.raises(omero.QueryException) as refused:
        alice.getQueryService().projection(text, parameters)
    assert text in refused.value.message


def test_more_than_one_object_is_not_one(alice: Any) -> None:
    with pytest.raises(omero.ApiUsageException, match="more than one result"):
        alice.getQueryService().findByQuery("select d from Dataset d", None)


def test_values_are_not_objects(alice: Any) -> None:
    with pytest.raises(omero.ApiUsageException, match="incompatible type"):
        alice.getQueryService().findAllByQuery("select d.name from Dataset d", None)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("p.name = 'Actin project'", True),
        ("p.name <> 'Actin project'", False),
        ("p.name like 'Actin%'", True),
        ("p.name like 'actin%'", False),
        ("lower(p.name) like 'actin%'", True),
        ("p.name not like 'Actin%'", False),
        ("p.description is null", True),
        ("p.description is not null", False),
        ("p.id > 0 and (p.id < 0 or p.id >= 1)", True),
        ("not (p.id = 1)", False),
        ("p.id between 0 and 10", True),
        ("p.id in (1, 2, 3)", True),
        ("p.id not in (1, 2, 3)", False),
        ("p.id in (select l.parent.id from ProjectDatasetLink l)", True),
        ("exists (select l from ProjectDatasetLink l where l.parent = p and l.child.name = 'embryos')", True),
        ("not exists (select l from ProjectDatasetLink l where l.parent.id = p.id)", False),
        ("size(p.datasetLinks) >= 2", True),
        ("p.datasetLinks is empty", False),
        ("p.details.owner.omeName = 'alice'", True),
        ("p.details.owner.lastName || ' ' || p.details.owner.firstName = 'Actin Alice'", True),
        ("p.details.group.id = 3 and p.details.group.name = 'Cytoskeleton'", True),
        ("p.details.creationEvent.time > 0", True),
        ("(select count(l) from ProjectDatasetLink l where l.parent = p) >= 2", True),
        ("case when p.id = 1 then 1 else 0 end = 1", True),
    ],
)
def test_conditions(alice: Any, condition: str, expected: bool) -> None:
    found = rows(alice, f"select p.id from Project p where p.name = 'Actin project' and ({condition})")
    assert bool(found) is expected


def test_parameters_are_values_never_text(alice: Any) -> None:
    assert rows(alice, "select p.id from Project p where p.name = :name", name="x' or '1'='1") == []


def test_objects_compare_by_identity(alice: Any) -> None:
    parameters = omero.sys.ParametersI()
    parameters.add("p", omero.rtypes.robject(omero.model.ProjectI(1, False)))
    found = alice.getQueryService().projection(
        "select l.child.name from ProjectDatasetLink l where l.parent = :p order by l.id", parameters
    )
    assert [name for (name,) in unwrap(found)][:2] == ["embryos", "cell migration"]


def test_outer_joins_keep_what_has_no_partner(alice: Any) -> None:
    found = dict(rows(alice, "select d.name, pl.parent.id from Dataset d left outer join d.projectLinks pl"))
    assert found["screen-12"] is None
    assert found["embryos"] == 1


def test_counts_sums_and_groups(alice: Any) -> None:
    assert rows(alice, "select count(distinct p), max(p.id), min(p.id) from Project p where p.id <= 2") == [
        [2, 2, 1]
    ]
    counted = rows(
        alice,
        "select p.name, count(l) from ProjectDatasetLink l join l.parent p where p.id <= 2 group by p.name"
        " having count(l) >= 1 order by p.name",
    )
    assert [name for name, _ in counted] == ["Actin project", "Calibration"]
    assert rows(alice, "select sum(p.id) from Project p where p.id in (1, 2)") == [[3]]
    assert rows(alice, "select sum(p.id) from Project p where p.id = -1") == [[None]]


def test_pages(alice: Any) -> None:
    query = alice.getQueryService()
    everything = unwrap(query.projection("select g.name from ExperimenterGroup g order by g.id", None))
    page = omero.sys.ParametersI().page(2, 2)
    assert (
        unwrap(query.projection("select g.name from ExperimenterGroup g order by g.id", page))
        == everything[2:4]
    )
    loaded = query.findAllByQuery(
        "select g from ExperimenterGroup g left outer join fetch g.groupExperimenterMap order by g.id", page
    )
    assert [[g.name.val] for g in loaded] == everything[2:4]


def test_fetched_is_loaded_and_the_rest_is_not(alice: Any) -> None:
    query = alice.getQueryService()
    hql = "select p from Project p join fetch p.datasetLinks l join fetch l.child where p.id = 1"
    project = query.findByQuery(hql, None)
    assert "embryos" in {dataset.name.val for dataset in project.linkedDatasetList()}
    assert not project.isAnnotationLinksLoaded()
    assert not project.details.owner.isLoaded()
    plain = query.get("ProjectI", 1)
    assert not plain.isDatasetLinksLoaded()


def test_a_missing_object_is_null_for_find_and_an_error_for_get(alice: Any) -> None:
    query = alice.getQueryService()
    assert query.find("Project", 10**9) is None
    with pytest.raises(omero.ValidationException):
        query.get("Project", 10**9)


def test_the_queries_of_the_facts_are_answered(alice: Any) -> None:
    assert ["Cytoskeleton", False] in [
        row[1:]
        for row in rows(
            alice,
            "select g.id, g.name, m.owner from GroupExperimenterMap m join m.parent g join m.child e"
            " where e.omeName = :u and g.name not in ('user','guest')",
            u="alice",
        )
    ]
    orphans = rows(
        alice,
        "select d.id, d.name from Dataset d where d.details.owner.omeName = :u"
        " and not exists (select 1 from ProjectDatasetLink l where l.child = d)",
        u="alice",
    )
    assert "screen-12" in [name for _, name in orphans]
    parameters = omero.sys.ParametersI().add("ids", rlist([rlong(1)])).add("cp", rstring("none"))
    for hql in (
        "select ofile from FilesetEntry as fse join fse.fileset as fileset join fse.originalFile as ofile"
        " join fileset.images as image where image.id in (:ids)",
        "select o from FilesetEntry fe join fe.originalFile o where fe.clientPath = :cp",
        "from DatasetImageLink as c where c.child.id=1",
        "from WellSample as c where c.image.id=1",
        "select fs from Fileset fs left outer join fetch fs.usedFiles u left outer join fetch u.originalFile",
    ):
        assert isinstance(alice.getQueryService().findAllByQuery(hql, parameters), list)
    for hql in (
        "select count(fse), sum(fse.originalFile.size) from FilesetEntry as fse where fse.id in ("
        " select distinct(i_fse.id) from FilesetEntry as i_fse join i_fse.fileset as i_fileset"
        " join i_fileset.images as i_image where i_image.id in (:ids))",
        "select ann.id, ann.ns, ann.textValue from Fileset as fileset join fileset.annotationLinks as a_link"
        " join a_link.child as ann where fileset.id in"
        " (select distinct(i_fileset.id) from Fileset as i_fileset"
        " join i_fileset.images as i_image where i_image.id in (:ids))",
        "select distinct p.id from Plate p join p.wells w join w.wellSamples ws join ws.image i"
        " where i.fileset.id = 1",
    ):
        assert isinstance(alice.getQueryService().projection(hql, parameters), list)
