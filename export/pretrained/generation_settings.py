"""What a folder says of generating text, as the rules that its clients follow; or why they cannot."""

from __future__ import annotations

from typing import Any

from clients.generation import Generation
from conch.contracts.errors import ConchError

OTHER_RULES = (
    "sequence_bias", "exponential_decay_length_penalty", "constraints", "force_words_ids",
    "watermarking_config", "penalty_alpha", "dola_layers", "forced_decoder_ids",
)  # fmt: skip
"""Of a generation configuration: what would change a greedy text, and is no rule of clients.generation."""
NEUTRAL = {"encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0, "guidance_scale": 1.0}
CHOOSING = {"do_sample": "draws tokens at random", "num_beams": "follows several texts at once"}
"""Ways of choosing that are not greedy: what they say is told, and not done."""


def generation_settings(
    model: Any, where: str, most: int | None, encoder: str = "", pair: str = ""
) -> tuple[Generation, tuple[str, ...]]:
    """The rules of `model.generation_config`, and what has to be told of them.

    Args:
        model: with generation_config.json as transformers read it, or what it makes of config.json.
        where: the folder, for messages.
        most: tokens that the model has positions for.
        encoder: the name of the model that reads what a text is made of.
        pair: what that model and this one have in common.

    Raises:
        ConchError: it asks for a rule that clients do not follow, or says not what a text begins with.
    """
    config = model.generation_config
    asked = [name for name in OTHER_RULES if getattr(config, name, None)]
    ends, words = _tokens(config.eos_token_id), config.bad_words_ids or []
    asked += ["bad_words_ids of several tokens"] if any(len(word) > 1 for word in words) else []
    asked += [name for name, neutral in NEUTRAL.items() if getattr(config, name, None) not in (None, neutral)]
    if asked:
        raise ConchError(
            f"{where}/generation_config.json asks for {', '.join(asked)}, which clients do not follow, so that their "
            "texts would not be transformers'; remove it from the file where the model does without"
        )
    generation = Generation(
        end=ends,
        most=most,
        encoder=encoder,
        pair=pair,
        start=(start_token(model, where),) if encoder else (),
        minimum=config.min_length or 0,
        minimum_new=config.min_new_tokens or 0,
        repetition_penalty=1.0 if config.repetition_penalty is None else float(config.repetition_penalty),
        no_repeat_ngram=config.no_repeat_ngram_size or 0,
        forced_first=config.forced_bos_token_id,
        forced_last=_tokens(config.forced_eos_token_id),
        # transformers lets a text end whatever bad_words_ids says.
        suppressed=(*_tokens(config.suppress_tokens), *(word for (word,) in words if word not in ends)),
        suppressed_first=_tokens(config.begin_suppress_tokens),
    )
    told = [
        f"generation_config.json {says} ({name}); clients take the likeliest token each time, as with {name} off"
        for name, says in CHOOSING.items()
        if getattr(config, name, None) not in (None, False, 1)
    ]
    return generation, tuple(told)


def start_token(model: Any, where: str) -> int:
    """What a text begins with that is made of another.

    Raises:
        ConchError: nobody says it.
    """
    config = model.generation_config
    start = config.bos_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id
    if not isinstance(start, int):
        raise ConchError(
            f"{where}: decoder_start_token_id is {start!r} in config.json and generation_config.json; it must be the "
            "token that every text begins with"
        )
    return start


def _tokens(said: int | list[int] | None) -> tuple[int, ...]:
    return () if said is None else tuple(said) if isinstance(said, list) else (int(said),)
