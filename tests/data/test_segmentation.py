"""Every hard case is written with ‖ where a sentence has to end."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.data.corpus import read_documents
from albertine.data.segmentation import character_segmenter, rjieba_segmenter, split_sentences
from albertine.errors import MissingDependencyError

ENGLISH = """
He left.‖ She stayed.
Mr. Smith met Dr. Jones.‖ They spoke.
Mrs. Dalloway said she would buy the flowers herself.
Prof. A. B. Carter of St. Andrews wrote it.‖ It sold well.
George W. Bush and J. K. Rowling met in Washington.
It was designed by J. R. R. Tolkien.‖ He also drew the map.
The study tested vitamin C.‖ The results were mixed.
In this film he plays Malcolm X.‖ He won a prize.
Between you and I.‖ We know it.
Born in Springfield, Ill. Adams moved to Ohio.
She lives in the U.S. Army base near Tokyo.
She moved to the U.S.‖ She was nine.
The U.K. Parliament voted at 10 p.m. Greenwich time.
The meeting ended at 5 p.m.‖ Nobody complained.
It opened at 9 a.m. on Monday.
Apple Inc. Chairman Tim Cook spoke.
He works for Apple Inc.‖ He likes it there.
Smith & Co. Ltd. was founded in 1901.
Bread, milk, etc. are sold here.
They sell bread, milk, etc.‖ They also sell tea.
Some animals, e.g. Lions and tigers, are cats.
The winner, i.e. Anna, was happy.
It costs approx. 5 dollars.
See Fig. 3 for details.‖ See also Sec. 4.
Turn to pp. 12–15 and vol. 2 of the set.
Brown v. Board of Education was decided in 1954.
Real Madrid vs. Barcelona ended 2–2.
The answer was No.‖ The crowd cheered.
Room No. 5 is free.
Jan. 5 was cold.‖ Feb. 6 was colder.
He was born on Dec. 24, 1954.
Sammy Davis Jr. sang.‖ Then Jr. left.
She has a Ph.D. from Yale.
She finished her Ph.D.‖ Then she taught.
Pi is 3.14159 and e is 2.71828.‖ Both are irrational.
The price rose by .5 percent.
Version 2.0.1 is out.‖ Install it now.
It happened in 1990.‖ He was ten.
The score was 3.‖ Nobody scored again.
1. Wash the rice.‖ Boil it.
2.3. Results of the second experiment
a. The first case
iv. The fourth case
(1) Take two eggs.‖ (2) Beat them.
Wait... what did you say?
I do not know...‖ Perhaps tomorrow.
"Well..." he began.
She asked, "Why?"‖ Nobody answered.
"Stop!" he cried.‖ They stopped.
"Is it true?" asked Ann.
He said "No."‖ She said "Yes."
“Where are you going?” she asked.‖ “Home.”
“We won. We really won!” he said.‖ Then he wept.
He called it “a disaster.”‖ Others disagreed.
'It is late.'‖ 'Then let us go.'
What?!‖ You cannot be serious!
Yahoo! is a company.
See http://example.com/a.html?q=1&r=2.‖ It works.
Visit www.example.org for more.‖ Or write to me@example.org.
The file a.b.c was lost.‖ The file x.txt was not.
Node.js and ASP.NET are frameworks.
(He left early.)‖ She stayed.
He left (she stayed. Why?) and came back.
He left.‖ (She stayed.)‖ They met again.
The village (pop. 300) lies in Kent.‖ It is small.
It was proved in 1931.[12]‖ The proof is long.
It was shown.[3][4]‖ Later work agreed.
Gen. Lee met Lt. Col. Marshall and Sgt. Pepper.
Gov. Brown and Sen. Reed spoke to Rep. Hall.
It rained all day.‖ 12 people came.
He loves the iPhone. eBay sells it.
Hello world!‖ ¿Qué tal?
First line
He ate ca. 300 g. of rice.
Ms. Lee lives on Park Ave. near 5th St. in N.Y. City.
Mt. Everest is high.‖ Ft. Worth is not.
The temperature was 5 °C.‖ It rose later.
By 300 B.C. Rome was large.
By 300 B.C.‖ The city was large.
He plays for F.C. Barcelona.‖ They won.
Ludwig van Beethoven, op. 27 no. 2, is famous.
Et al. is Latin.
He was ill.‖ Doctors came.
She loved art.‖ Paris was dear to her.
The answer is no.‖ Twelve people agreed.
The house (est. 1900, see p. 5) stands in Boston, Mass. Avenue.
Smith et al. Found nothing new.
""".strip().splitlines()

CHINESE = """
他走了。‖她留下了。
你好吗？‖我很好！‖谢谢。
什么？！‖你再说一遍！！！
他说：“你好。”‖然后走了。
“你好！”他说。
“你好！”她高兴地说道。
“我们走吧。”老师对大家说，“天快黑了。”
她问：“为什么？”‖没有人回答。
“真的吗？”‖“真的。”
「你好！」他笑道。‖「再見！」
《你好，李焕英》是一部电影。‖《谁先爱上他的？》也是。
他看了《十万个为什么？》这本书。‖他很喜欢。
《〈红楼梦〉为什么好看？》出版了。
他来了（其实没有来。真的！）然后又走了。
他来了。‖（掌声。）‖他开始讲话。
第一条（一）项。‖第二条（二）项。
本条例（以下简称“本法”）自公布之日起施行。
嵌套（外层（内层。）外层。）之后。‖下一句。
“她说：‘你好。’然后走了。”他回忆道。
我……我不知道。
他想了很久……‖后来他终于明白了。
我等了你整整三个小时……‖你怎么才来？
从前有一座山……
价格是3.5元。‖涨了0.2元。
版本2.0.1已经发布。‖请更新。
圆周率约为3.14159，不是3。
他在U.S.工作。‖他回来了。
使用Node.js开发。‖很方便。
请访问https://example.com/a?b=c。‖谢谢。
真的吗?‖他问自己!‖没有人知道.‖后来呢
他说“好。”，然后走了。
他说“好！”、“行！”和“可以！”。‖大家笑了。
好！‖好！‖好！
“好！好！”大家喊道。
1.苹果；
1. 苹果；2. 梨；3. 桃。
一、总则。‖二、分则。
（一）加强领导。‖（二）落实责任。
第一章　总则
【领航中国】共护一江水！‖万里长江焕发新活力。
北京时间19:00。‖晚上好。
他出生于1990年。‖1991年搬家。
这是中文。‖This is English.‖这又是中文。
This is English.‖ 这是中文。‖ English again.
他用Python 3.11写代码。‖It works.‖很好。
『これ。』‖他读了出来。
唉！‖这……这怎么办？
“走！”‖他没有动。
谁？‖谁在那里？‖没有人。
他叫“小明”。‖她叫“小红”。
""".strip().splitlines()


def divided(case: str) -> list[str]:
    return [part.strip() for part in case.split("‖")]


@pytest.mark.parametrize("case", ENGLISH)
def test_english_sentences_end_where_a_reader_ends_them(case: str) -> None:
    assert split_sentences(case.replace("‖", "")) == divided(case)


@pytest.mark.parametrize("case", CHINESE)
def test_chinese_sentences_end_where_a_reader_ends_them(case: str) -> None:
    assert split_sentences(case.replace("‖", "")) == divided(case)


def test_there_are_enough_hard_cases() -> None:
    assert len(ENGLISH) >= 60
    assert len(CHINESE) >= 40


def test_line_ends_end_sentences_and_blank_lines_leave_nothing() -> None:
    assert split_sentences("one two\nthree。\n\n \n four\n") == ["one two", "three。", "four"]
    assert split_sentences("") == split_sentences(" \n\u3000\n") == []


def test_a_lone_stop_is_no_sentence_of_its_own() -> None:
    assert split_sentences("He left . . . and came back.") == ["He left . . . and came back."]
    assert split_sentences("（他走了。) 。后来") == ["（他走了。) 。", "后来"]


PIECES = st.sampled_from([*"他好。！？…“”（）《》「」.!?\"'()a A1\n\t,，", "Mr", "U.S.", "说", "...", "\u3000"])


@given(st.lists(PIECES, max_size=40).map("".join))
@settings(max_examples=300, deadline=None)
def test_nothing_but_white_space_is_lost_or_added(text: str) -> None:
    sentences = split_sentences(text)
    assert re.sub(r"\s", "", "".join(sentences)) == re.sub(r"\s", "", text)
    assert all(sentence and sentence == sentence.strip() and "\n" not in sentence for sentence in sentences)


@pytest.mark.parametrize(
    "piece", ["x(a!)", "(", "“a", "《", "a. ", "我…", "1.", "？”", "a.很", ". (", "说。", "((a)", "... "]
)
def test_the_work_is_linear_in_the_text(piece: str) -> None:
    steps = [counted_steps(piece * count) for count in (2_000, 8_000)]
    assert steps[1] <= 6 * steps[0] + 1000


def counted_steps(text: str) -> int:
    """Count the characters that slices of the text copy, as a measure that does not depend on the clock."""

    class Watched(str):
        copied = 0

        def __getitem__(self, key: object) -> str:
            part = str.__getitem__(self, key)  # type: ignore[index]
            Watched.copied += len(part)
            return part

    split_sentences(Watched(text))
    return Watched.copied


def test_every_han_character_is_a_word_for_the_character_segmenter() -> None:
    segmenter = character_segmenter()
    assert segmenter.words("我用 Python 写，好") == [0, 1, 10, 12]
    assert segmenter.words("no Han at all 123") == []
    assert segmenter.name == "characters"


def test_rjieba_finds_the_words_inside_of_han_runs_only() -> None:
    pytest.importorskip("rjieba")
    segmenter = rjieba_segmenter()
    sentence = "我来到 Beijing 清华大学，2024年。𠀀字"
    starts = segmenter.words(sentence)
    assert [sentence[start] for start in starts] == list("我来清年𠀀字")
    assert segmenter.name.startswith("rjieba-")
    assert rjieba_segmenter() is segmenter


@given(st.text(alphabet=st.sampled_from("我来到北京清华大学的人们，。abc 1𠀀〇々"), max_size=40))
@settings(max_examples=100, deadline=None)
def test_words_start_at_every_start_of_a_han_run_and_ascend(text: str) -> None:
    pytest.importorskip("rjieba")
    words, characters = rjieba_segmenter().words(text), character_segmenter().words(text)
    assert words == sorted(set(words))
    assert set(words) <= set(characters)
    assert {place for place in characters if place - 1 not in characters} <= set(words)


def test_a_missing_rjieba_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    rjieba_segmenter.cache_clear()
    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(MissingDependencyError, match=r"albertine\[zh\]"):
        rjieba_segmenter()


@pytest.mark.parametrize("name", ["zh_wiki_0", "en_wiki_0", "zh_laws"])
def test_sentences_of_real_documents_are_of_a_sensible_length(data_dir: Path, name: str) -> None:
    characters = count = ends = 0
    for document in read_documents([data_dir / "corpus" / f"{name}.txt.xz"]):
        characters += len(document.text)
        for line in document.text.split("\n"):
            sentences = split_sentences(line)
            count += len(sentences)
            ends += sum(1 for one in sentences[:-1] if one[-1] in "。！？!?.…”’」』\"')）]】")
            ends += bool(sentences)
        if characters > 500_000:
            break
    assert 15 < characters / count < 150
    assert ends == count
