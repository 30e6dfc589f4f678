"""Seven families of chat tokenizers, built small: the vocabulary is learned from a few lines, all else is as theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LINES = [
    "What is the capital of France? The capital of France is Paris.", "Tell me a joke about tea and pears, please.",
    "Hello, what can I do for you today?", "Question: 1 + 1?\nAnswer: 2.", "Be kind. Be brief.\n\nYes, of course!",
    "user assistant system model\nNo.", "I am sorry, but I cannot know that.", "<think>\n\n</think>\n\nFine.",
] * 20  # fmt: skip

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}"
    "{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
LLAMA_3 = (
    "{% for message in messages %}{{ (bos_token if loop.first else '') + '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA_2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)
QWEN_3 = (
    "{%- if tools %}{{- '<|im_start|>system\n# Tools\n' }}"
    "{%- for tool in tools %}{{- tool | tojson + '\n' }}{%- endfor %}{{- '<|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.role == 'assistant' and loop.last %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{{- message.content }}"
    "{%- for call in message.tool_calls or [] %}{{- '<tool_call>\n' + call.function | tojson + '\n</tool_call>' }}"
    "{%- endfor %}{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
ZEPHYR = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# template; sentencepiece's way of writing spaces, and whether it puts one before a text; bos, eos; further tokens
FAMILIES = {
    "gemma": (GEMMA, "sp", "<bos>", "<eos>", ["<start_of_turn>", "<end_of_turn>"]),
    "phi-3": (PHI, "sp+", "<s>", "<|endoftext|>", ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]),
    "llama-3": (
        LLAMA_3, "bytes", "<|begin_of_text|>", "<|end_of_text|>",
        ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    ),
    "llama-2": (LLAMA_2, "sp+", "<s>", "</s>", []),
    "qwen3": (QWEN_3, "bytes", None, "<|im_end|>", ["<|im_start|>", "<|endoftext|>", "<think>", "</think>"]),
    "zephyr": (ZEPHYR, "sp+", "<s>", "</s>", []),
    "chatml": (CHATML, "bytes", None, "<|im_end|>", ["<|im_start|>", "<|endoftext|>"]),
}  # fmt: skip


def family(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of one of FAMILIES."""
    template, way, bos, eos, more = FAMILIES[name]
    return build(way, bos, eos, more, template)


def build(
    way: str,
    bos: str | None,
    eos: str,
    more: list[str] | None = None,
    template: str | None = None,
    ends: bool = False,
    more_lines: Sequence[str] = (),
) -> PreTrainedTokenizerFast:
    """way: "bytes" (byte-level), "sp" (spaces as U+2581) or "sp+" (and one before every text); ends: whether it puts
    its end token behind every text, as it puts bos before it; more_lines: to learn the vocabulary from as well."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = [token for token in ("<unk>", bos, eos, *(more or [])) if token]
    found = Tokenizer(models.BPE(unk_token="<unk>" if way != "bytes" else None))
    if way == "bytes":
        found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        found.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    else:
        steps = [normalizers.Prepend("\u2581")] if way == "sp+" else []
        found.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "\u2581")])
        found.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse()])
        # while it learns: no token spans two words or lines
        words, lines = pre_tokenizers.Split("\u2581", "merged_with_next"), pre_tokenizers.Split("\n", "isolated")
        found.pre_tokenizer = pre_tokenizers.Sequence([words, lines])
        alphabet = sorted({letter for line in LINES for letter in line} | set("\n\u2581[]/+<|>#INST"))
    trainer = trainers.BpeTrainer(
        vocab_size=520, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    found.train_from_iterator([*LINES, *more_lines], trainer)
    if way != "bytes":
        found.pre_tokenizer = pre_tokenizers.Sequence([])
    around = f"{bos}:0 " if bos else ""
    if bos or ends:
        ids = [(token, found.token_to_id(token)) for token in (bos, eos) if token]
        found.post_processor = processors.TemplateProcessing(
            single=f"{around}$A:0{f' {eos}:0' if ends else ''}", special_tokens=ids
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=found, bos_token=bos, eos_token=eos, pad_token=eos, extra_special_tokens=more or []
    )
    tokenizer.chat_template = template
    return tokenizer
