"""Files of the exact shapes that OpenAI and Neuronpedia have put up, made of a few words."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

TOKENS = (" Mary", " and", " John", " went", " to", " the", " store")
TEXT = "words that name a person, especially at the beginning of a sentence"
MOMENTS = {"mean": 0.1, "variance": 0.25, "skewness": 1.5, "kurtosis": 4.0}


def activations(seed: int, count: int = len(TOKENS)) -> list[float]:
    return np.random.default_rng(seed).normal(size=count).round(4).tolist()


def record(tokens: Sequence[str], numbers: Sequence[float]) -> dict[str, Any]:
    return {"dataclass_name": "ActivationRecord", "tokens": list(tokens), "activations": list(numbers)}


def records(
    first: int, count: int, tokens: Sequence[str] = TOKENS, pairs: bool = False
) -> list[dict[str, Any]]:
    places = len(tokens) * (len(tokens) + 1) // 2 if pairs else len(tokens)
    sign = np.abs if pairs else np.asarray
    return [
        record(tokens, np.asarray(sign(activations(seed, places))).tolist())
        for seed in range(first, first + count)
    ]


def neuron_record(layer: int, index: int, old: bool = False, pairs: bool = False) -> dict[str, Any]:
    """`NeuronRecord`; `old` spells its id as the first files did."""
    names = ("layer", "idx") if old else ("layer_index", "neuron_index")
    quantiles = [records(40, 2, pairs=pairs), records(50, 2, pairs=pairs)]
    return {
        "dataclass_name": "NeuronRecord",
        "neuron_id": {"dataclass_name": "NeuronId", names[0]: str(layer) if old else layer, names[1]: index},
        "random_sample": records(20, 3, pairs=pairs),
        "random_sample_by_quantile": quantiles,
        "quantile_boundaries": [0.5, 0.9],
        **MOMENTS,
        "most_positive_activation_records": records(0, 4, pairs=pairs),
    }


def simulation_results(layer: int, index: int, text: str = TEXT, score: float = 0.37) -> dict[str, Any]:
    """`NeuronSimulationResults`, with what it says of each sequence left to one."""
    sequence = {
        "dataclass_name": "ScoredSequenceSimulation",
        "simulation": {
            "dataclass_name": "SequenceSimulation",
            "tokens": list(TOKENS),
            "expected_activations": activations(7),
            "activation_scale": "simulated_normalized_activations",
            "distribution_values": [],
            "distribution_probabilities": [],
            "uncalibrated_simulation": None,
        },
        "true_activations": activations(0),
        "ev_correlation_score": 0.5,
        "rsquared_score": 0.2,
        "absolute_dev_explained_score": 0.1,
    }
    scored = {
        "dataclass_name": "ScoredSimulation",
        "scored_sequence_simulations": [sequence] * 10,
        "ev_correlation_score": score,
        "rsquared_score": 0.14,
        "absolute_dev_explained_score": 0.06,
    }
    return {
        "dataclass_name": "NeuronSimulationResults",
        "neuron_id": {"dataclass_name": "NeuronId", "layer_index": layer, "neuron_index": index},
        "scored_explanations": [
            {"dataclass_name": "ScoredExplanation", "explanation": text, "scored_simulation": scored}
        ],
    }


def activation(layer: str, index: int, seed: int) -> dict[str, Any]:
    """A line of Neuronpedia's `activations`."""
    values = np.maximum(activations(seed), 0).tolist()
    peak = int(np.argmax(values))
    return {
        "id": f"clx{seed}",
        "tokens": list(TOKENS),
        "dataIndex": str(seed),
        "index": str(index),
        "layer": layer,
        "modelId": "gpt2-small",
        "dataSource": "openwebtext",
        "maxValue": values[peak],
        "maxValueTokenIndex": peak,
        "minValue": min(values),
        "values": values,
        "dfaValues": [],
        "lossValues": [],
        "creatorId": "clk",
    }


def explanation(layer: str, index: int, text: str = TEXT) -> dict[str, Any]:
    """A line of Neuronpedia's `explanations`."""
    return {
        "id": "clx",
        "modelId": "gpt2-small",
        "layer": layer,
        "index": str(index),
        "description": text,
        "authorId": "clk",
        "typeName": "oai_token-act-pair",
        "explanationModelName": "gpt-3.5-turbo",
        "scores": [{"value": 0.7, "explanationScoreTypeName": "eleuther_fuzz", "jsonDetails": ""}],
    }


def feature(layer: str, index: int) -> dict[str, Any]:
    """What Neuronpedia's API answers."""
    return {
        "modelId": "gpt2-small",
        "layer": layer,
        "index": str(index),
        "sourceSetName": layer.partition("-")[2],
        "hasVector": False,
        "maxActApprox": 3.2,
        "frac_nonzero": 0.0125,
        "pos_str": [" Mary", " John"],
        "pos_values": [0.9, 0.8],
        "neg_str": [" the"],
        "neg_values": [-0.7],
        "freq_hist_data_bar_heights": [10, 5, 1],
        "freq_hist_data_bar_values": [0.1, 0.2, 0.3],
        "explanations": [explanation(layer, index)],
        "activations": [activation(layer, index, seed) for seed in (3, 4, 4)],
        "comments": [],
    }


def as_bytes(found: object) -> bytes:
    return json.dumps(found).encode()
