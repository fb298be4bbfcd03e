"""The demo: on the bundled conversation, and on a labelled set."""

import json

import pytest

from agentmem.cli.demo import conversation, questions


def test_the_bundled_data_is_whole():
    turns, asked = conversation(), questions()
    ids = [turn["id"] for turn in turns]
    assert len(ids) == len(set(ids)) >= 200
    assert {"role", "speaker", "content", "session", "thread", "created_at"} <= set.intersection(*map(set, turns))
    assert [turn["created_at"] for turn in turns] == sorted(turn["created_at"] for turn in turns)
    assert len(asked) >= 12
    assert all(each["relevant"] and set(each["relevant"]) <= set(ids) for each in asked)


def test_demo_shows_question_hits_scores_and_reasons(agentmem):
    done = agentmem("demo")
    assert done.code == 0, done.err
    for each in questions():
        assert each["question"][:40] in done.out
    assert "✓" in done.out
    assert "semantic" in done.out
    assert f"of {len(questions())} questions are answered" in done.out


def test_most_questions_are_answered(agentmem, tmp_path):
    answers = agentmem("demo", "--json").json["answers"]
    found = [any(hit["id"] in answer["relevant"] for hit in answer["hits"][:3]) for answer in answers]
    assert sum(found) >= len(answers) * 2 // 3
    assert all(hit["explanation"]["sources"] for answer in answers for hit in answer["hits"])
    assert not list(tmp_path.iterdir())


@pytest.fixture
def labelled(tmp_path):
    """The bundled conversation, as a labelled set."""
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    turns = conversation()
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for position, turn in enumerate(turns):
            place = {"thread": turn["thread"], "position": position, "created_at": turn["created_at"]}
            place |= {"session": turn["session"], "speaker": turn["speaker"]}
            file.write(json.dumps({"_id": turn["id"], "title": "", "text": turn["content"], "metadata": place}) + "\n")
    with (folder / "queries.jsonl").open("w") as file, (folder / "qrels" / "test.tsv").open("w") as qrels:
        qrels.write("query-id\tcorpus-id\tscore\n")
        for number, each in enumerate(questions()):
            metadata = {"category": number % 2, "answer": each["answer"]}
            file.write(json.dumps({"_id": f"q{number}", "text": each["question"], "metadata": metadata}) + "\n")
            qrels.writelines(f"q{number}\t{relevant}\t1\n" for relevant in each["relevant"])
    return folder


def test_a_labelled_set_is_measured(agentmem, labelled):
    done = agentmem("demo", "--data", labelled)
    assert done.code == 0, done.err
    assert questions()[0]["question"][:40] in done.out
    for word in ("recall@10", "NDCG@10", "plain dense search", "the default", "change"):
        assert word in done.out


def test_the_measures_as_json_and_without_a_category(agentmem, labelled):
    report = agentmem("demo", "--data", labelled, "--exclude-category", "1", "--json").json
    assert report["queries"] == (len(questions()) + 1) // 2
    assert set(report["results"]) == {"dense", "auto"}
    assert report["results"]["auto"]["recall@10"] >= report["results"]["dense"]["recall@10"]


def test_given_vectors_must_be_there(agentmem, labelled):
    done = agentmem("demo", "--data", labelled, "--vectors", "given")
    assert done.code == 2
    assert "corpus.npy" in done.err
    assert done.err.count("\n") == 1
