"""All that the figures show or say, by the script that says it: what a translation translates.

What no script says, but Python, comes last: it is not sent to the pages.

A sentence stands whole, with names in braces for what the script fills in. One that depends on
how many there are is a pair, ``one`` and ``other`` (more in other languages: the names are those
of ``Intl.PluralRules``), chosen by its ``{count}``.
"""

from typing import Any

LANGUAGE = "en"
WORDS: dict[str, dict[str, Any]] = {
    "numbers": {
        "bytes": "{bytes} bytes are no row of float{bits} numbers",
        "size": "the weights should be {needed} numbers and are {given}",
        "finite": "a weight is not a finite number",
    },
    "frame": {
        "lacking": "this browser has no {feature}",
        "stopped": "This figure has stopped: {reason}.",
        "undrawn": "This figure cannot be drawn: {reason}.",
        "impossible": "{name} cannot be {value}.",
        "damaged": "The link to this figure's state is damaged: it shows what it begins with.",
        "reset": "Reset",
        "link": "Link to this state",
        "linked": "The address of this page now holds this state.",
        "copied": "The address of this page now holds this state, and is copied.",
        "seed": "Seed",
        "exact": "{label}, as a number",
        "goal": "Goal {number} of {count}: {goal}",
        "reached": "✓ {goal}",
        "done": "All goals reached.",
    },
    "draw": {
        "point": "movable point",
        "place": "x {x}, y {y}",
    },
    "sinusoid": {
        "controls": {
            "steps": "Inner steps",
            "amplitude": "Amplitude",
            "phase": "Phase",
            "frequency": "Frequency",
            "on_curve": "Points lie on the sine",
        },
        "units": {"phase": "{value} rad", "frequency": "{value} rad/unit"},
        "most": "{count} points are the most.",
        "least": "One point must stay.",
        "add": "Add a point",
        "remove": "Remove a point",
        "renew": "New curve",
        "curve": "The curve",
        "points": "The points",
        "point": "Support point {number}",
        "diverged": "diverged",
        "none": "–",
        "unadapted": "{name}, not yet adapted: error {before}.",
        "lost": {
            "one": "{name}, {count} step: the error is beyond all measure, before and after.",
            "other": "{name}, {count} steps: the error is beyond all measure, before and after.",
        },
        "diverges": {
            "one": "{name}, {count} step: it has diverged; the error was {before}.",
            "other": "{name}, {count} steps: it has diverged; the error was {before}.",
        },
        "falls": {
            "one": "{name}, {count} step: error falls from {before} to {after}.",
            "other": "{name}, {count} steps: error falls from {before} to {after}.",
        },
        "grows": {
            "one": "{name}, {count} step: error grows from {before} to {after}.",
            "other": "{name}, {count} steps: error grows from {before} to {after}.",
        },
    },
    "sine": {
        "title": "Adapt to a sine",
        "goals": {
            "majority": "Find a curve on which {name} is ahead more often than not, over {least} "
                        "sets of points at least. New curves keep your frequency.",
            "breaks": "Add inner steps, one at a time, until {name} has diverged.",
        },
        "summary": "Dotted: before the first step. Arrows: how the last step moved the curve at "
                   "each point.",
        "plot": "The curve, the support points, and what the networks predict",
        "x": "x",
        "y": "y",
        "errors": "The error after each number of inner steps",
        "steps": "inner steps",
        "error": "error",
        "controls": {"left": "First start", "right": "Second start"},
        "none": "none",
        "truth": "the sine",
        "again": "New points, same curve",
        "often": "{least} times",
        "support": "{name}, error on the points",
        "verdict": "better",
        "ahead": {
            "one": "{name} is ahead on {wins} of {count} set of points",
            "other": "{name} is ahead on {wins} of {count} sets of points",
        },
        "lost": "both have diverged",
        "draw": "a draw",
        "better": "{name}, {times} times less error",
        "alone": "{name}, the other has diverged",
    },
    "alphalab": {
        "title": "The alpha lab",
        "goals": {
            "spoils": "Find the start that spoils the training.",
            "opposite": "Find two opposite starts that end alike: choose one after the other.",
            "tensor": "With one rate per tensor, show the layer that has the largest rate.",
            "third": "Take three inner steps: which rates make them better than one step?",
        },
        "groups": {
            "training": "How it trained",
            "rates": "What alpha became",
            "task": "One task",
        },
        "summary": "Grey curves: the other starts. Band: from the lowest seed to the highest; ±: "
                   "95 % interval over seeds. Rates and task: seed 0. A rate beyond the ends of "
                   "the histogram is counted there, and has full colour.",
        "live": {"title": "What is being trained"},
        "training": "The error on validation tasks during training",
        "iterations": "meta-iterations",
        "error": "error after one step",
        "map": "The rates of the six tensors, a row for each hidden unit",
        "counts": "How many rates of the chosen layers have which size",
        "alpha": "alpha",
        "number": "rates",
        "plot": "The curve, the support points, and what the network predicts",
        "x": "x",
        "y": "y",
        "controls": {"shape": "Rates", "start": "They began at", "layer": "Shown"},
        "shapes": {"entry": "one per entry", "tensor": "one per tensor", "scalar": "one in all"},
        "layers": {"all": "all layers", "1": "layer 1", "2": "layer 2", "3": "layer 3"},
        "positive": "positive",
        "negative": "negative",
        "unmoved": "never moved",
        "readouts": {
            "rates": "rates shown",
            "unmoved": "never moved",
            "negative": "of the moved, negative",
            "median": "their median",
            "largest": "the largest in size",
        },
        "none": "–",
        "diverged": "diverged",
        "share": "{share} %",
        "interval": {
            "one": "{mean} ({count} seed)",
            "other": "{mean} ± {half} ({count} seeds)",
        },
        "arm": "no alpha per {shape} began at {start}",
        "marks": "{count} rates need as many never-moved marks",
        "task": "This task",
        "trained": "Rates, {shape}, from {start}: error {test} after one step on test tasks.",
        "untrained": "Rates, {shape}, from {start}: in training.",
    },
    "points": {
        "controls": {"amplitude": "Amplitude", "phase": "Phase"},
        "units": {"phase": "{value} rad"},
        "truth": "the sine",
        "add": "Add a point",
        "remove": "Remove the orange point",
        "most": "{count} points are the most.",
        "least": "One point must stay.",
        "point": "Support point {number}",
    },
    "stepkernel": {
        "title": "One step's kernel",
        "goals": {
            "crowd": "Place the five points so that even the best step leaves an error above 1.",
            "beat": "Find five places from which Meta-SGD comes nearer to the sine than the best "
                    "step.",
        },
        "summary": "First picture: one step on all the points. Second: what the orange point "
                   "alone adds to the curve, to first order. The best step is best on average "
                   "over curves and places.",
        "plot": "The sine, and what one step makes of its points",
        "shares": "What the orange point alone adds",
        "x": "x",
        "y": "y",
        "change": "change of y",
        "names": {"MAML": "MAML", "Meta-SGD": "Meta-SGD", "best": "best step"},
        "said": {
            "one": "Error on this curve after one step on {count} point: MAML {MAML}, Meta-SGD "
                   "{MetaSGD}, the best step {best}. The floor, over all curves: {floor}.",
            "other": "Error on this curve after one step on {count} points: MAML {MAML}, Meta-SGD "
                     "{MetaSGD}, the best step {best}. The floor, over all curves: {floor}.",
        },
    },
    "attentionstep": {
        "title": "Attention as a step",
        "goals": {
            "negative": "Let a point get a negative weight. With one rate none can: why?",
            "nothing": "Let the orange point add less than {nothing} at the query, up or down, "
                       "although its weight is above {counts}.",
        },
        "summary": "First picture: one gradient step on the last layer, and linear attention with "
                   "its matrices written by hand. Second: the weight of each point at the query. "
                   "Third: what it adds there, its weight times its residual. The arrow is their "
                   "sum.",
        "plot": "The sine, one step on its points, and attention over them",
        "weights": "The weight of each point at the query",
        "adds": "What each point adds at the query",
        "x": "x",
        "y": "y",
        "weight": "weight",
        "change": "change of y",
        "controls": {"rates": "The step has"},
        "rates": {
            "one rate": "one rate",
            "a rate an entry": "a rate an entry",
            "a matrix": "a matrix",
        },
        "names": {
            "before": "no step",
            "step": "one step",
            "attention": "attention by hand",
            "trained": "trained attention",
        },
        "kernel": "what a point elsewhere would weigh",
        "query": "Query",
        "asked": "x {x}, predicted {y}",
        "said": {
            "one": "At the query, x = {x}, the network says {before} and {count} point adds "
                   "{total}: {after}. The orange point has the weight {weight} and the residual "
                   "{residual}; it adds {added}. Step and attention by hand differ by at most "
                   "{gap}. Error on this curve: one step {step}, trained attention {trained}.",
            "other": "At the query, x = {x}, the network says {before} and {count} points add "
                     "{total}: {after}. The orange point has the weight {weight} and the residual "
                     "{residual}; it adds {added}. Step and attention by hand differ by at most "
                     "{gap}. Error on this curve: one step {step}, trained attention {trained}.",
        },
    },
    "twentywalks": {
        "title": "Twenty walks, one update",
        "goals": {
            "place": "With the distance and normalised advantages: let the update be at least "
                     "{place} % longer for a goal a tenth further away.",
            "direction": "Still with these: earn more than {direction} over the goals of the "
                         "square.",
            "both": "Now change what a step costs, or the advantages, and earn more than {both}.",
        },
        "summary": "A spring takes twenty walks from the middle (grey), is paid, and makes one "
                   "update with a fitted α. Blue: eight walks after it. Drag the goal. Below: how "
                   "far towards its goal the agent rests, for 24 goals and for yours.",
        "map": "The plane, with the walks before and after the update, and the goal",
        "rests": "How far towards its goal the agent rests, over how far away the goal is",
        "x": "x",
        "y": "y",
        "far": "distance of the goal",
        "along": "rests at",
        "controls": {
            "pull": "Pull κ",
            "noise": "Noise σ",
            "reward": "A step costs",
            "advantages": "Advantages",
        },
        "rewards": {"distance": "the distance", "squared": "its square"},
        "advantages": {"normalised": "normalised", "as they are": "as they are"},
        "names": {
            "before": "before the update",
            "after": "after it",
            "place": "rests at the goal",
        },
        "goal": "Goal",
        "renew": "New walks",
        "said": "The walks spread by {width} along each axis. Your goal is {away} away; after the "
                "update the agent rests at {rest} in its direction, and earns {own}. A goal a "
                "tenth further away makes the update {place} % longer: 0 would be a direction, 10 "
                "the place. Over 25 goals all over the square it earns {mean}.",
    },
    "valley": {
        "title": "A walk down a valley, with one rate or two",
        "goals": {
            0: "With gradient descent and one rate, find the largest that does not diverge.",
            1: "With one rate for each, reach the bottom in one step.",
            2: "Drag the start: does the same pair still reach the bottom?",
            3: "Turn the valley by 30° or more: does the pair still serve?",
        },
        "valley": "The valley",
        "map": "The valley from above, with the walk",
        "x": "θ₁",
        "y": "θ₂",
        "curve": "Loss against the step",
        "step": "step",
        "share": "loss / first loss",
        "start": "start of the walk",
        "controls": {
            "optimizer": "Optimiser",
            "rates": "Rates",
            "alpha": "Rate α",
            "alpha_1": "Rate α₁",
            "alpha_2": "Rate α₂",
            "steps": "Steps",
            "curvature": "Steep curvature",
            "angle": "Valley turned by",
        },
        "units": {"angle": "{value}°"},
        "optimizers": {
            "gradient descent": "gradient descent",
            "momentum": "momentum, β = 0.9",
            "Adam": "Adam",
        },
        "rates": {"one": "one for both", "each": "one for each"},
        "readouts": {
            "distance": "distance to the bottom",
            "reached": "first below 1 % of the loss",
        },
        "large": "too large for a number",
        "reached": {"one": "{count} step", "other": "{count} steps"},
        "unreached": "not within {patience} steps",
        "bottom": "the start is the bottom",
        "landed": {
            "one": "at the bottom after {count} step",
            "other": "at the bottom after {count} steps",
        },
        "fates": {
            "diverges": "diverges",
            "converges": "converges",
            "creeps": "still on its way after {patience} steps",
            "swings": "swings on and comes no closer",
        },
        "walkers": {
            "one": {
                "gradient descent": "Gradient descent with one rate, {rate}",
                "momentum": "Momentum with one rate, {rate}",
                "Adam": "Adam with one rate, {rate}",
            },
            "each": {
                "gradient descent": "Gradient descent with two rates, {rate} and {second}",
                "momentum": "Momentum with two rates, {rate} and {second}",
                "Adam": "Adam with two rates, {rate} and {second}",
            },
        },
        "walked": {
            "one": "{walker}; {count} step: the loss goes from {first} to {loss}, {percent} % of "
                   "it. In the long run: {verdict}.",
            "other": "{walker}; {count} steps: the loss goes from {first} to {loss}, {percent} % "
                     "of it. In the long run: {verdict}.",
        },
        "left": {
            "one": "{walker}; {count} step: the loss has left the numbers. In the long run: "
                   "{verdict}.",
            "other": "{walker}; {count} steps: the loss has left the numbers. In the long run: "
                     "{verdict}.",
        },
    },
    "cartpole": {
        "title": "A CartPole that finds out which side pays",
        "goals": {
            0: "The policy is not told which side pays. Let it collect ten episodes and take one "
               "step: does it find the side?",
            1: "Pick the other side; the policy begins anew. Does one step find that one too?",
            2: "Tick “Keep the policy”, then change the physics until it lets the pole fall.",
            3: "Begin with joint, on the side that it did not pick: what can a step tell it?",
        },
        "plain": {
            "title": "A policy that learns to balance",
            "goals": {
                0: "Take one step after the other: how many until the return is 450 of 500?",
                1: "Make the cart heavy, 4 kg or more: much of the return is gone.",
                2: "Do more steps on the heavy cart bring it back, above 350?",
            },
        },
        "picture": "The cart on its track, seen from the side",
        "cart": "Cart: push it with the arrow keys, or drag it",
        "moving": "{place} m, {speed} m/s",
        "pays": "pays",
        "metres": "{place} m",
        "paths": "Position of the cart in ten fresh episodes of the policy, and in the one you see",
        "time": "time in s",
        "position": "position in m",
        "returns": "Mean return of ten episodes against the number of steps",
        "steps": "steps, on ten episodes each",
        "return": "return",
        "play": "Play",
        "pause": "Pause",
        "single": "One frame",
        "renew": "New episode",
        "left": "Push left",
        "right": "Push right",
        "collect": "Collect 10 episodes, take one step",
        "physics": "The physics",
        "film": "The film and its chances",
        "keep": "Keep the policy when the task changes",
        "anew": "This is another task: the policy begins anew, from 0 steps.",
        "controls": {
            "side": "The side that pays",
            "updates": "Inner steps",
            "training": "Steps",
            "start": "Initialisation",
            "speed": "Speed of the film",
            "length": "Half the pole's length",
            "masspole": "Mass of the pole",
            "masscart": "Mass of the cart",
            "force": "Force",
            "gravity": "Gravity",
            "swapped": "Left and right swapped",
            "greedy": "The likelier action, not a drawn one",
        },
        "units": {
            "speed": "{value} ×",
            "length": "{value} m",
            "masspole": "{value} kg",
            "masscart": "{value} kg",
            "force": "{value} N",
            "gravity": "{value} m/s²",
        },
        "sides": {"1": "right", "-1": "left", "0": "both: it always pays"},
        "starts": {
            "random": "random",
            "MAML": "MAML",
            "Meta-SGD": "Meta-SGD",
            "joint": "joint, fine-tuned",
        },
        "fresh": "ten fresh episodes",
        "seen": "the episode you see",
        "paid": "the side that pays",
        "mean": "mean return",
        "learned": "the ten episodes that each step learned from",
        "played": "ten fresh ones of the policy that plays",
        "bound": "bound without adapting, mean of both sides",
        "readouts": {
            "cart": "Cart",
            "balance": "The pole stood for",
            "returns": "Return, step by step",
        },
        "going": "{time} of {end} s; earned {earned}; position {place} m, velocity {speed} m/s, "
                 "angle {angle}°, turning {spin} rad/s",
        "fallen": "{time} of {end} s, the pole fell or the track ended; earned {earned}; position "
                  "{place} m, velocity {speed} m/s, angle {angle}°, turning {spin} rad/s",
        "stood": "{time} s",
        "each": {"one": "{count} step: {mean}", "other": "{count} steps: {mean}"},
        "unlearned": "Ten fresh episodes after {count} steps: return {return} of {horizon}.",
        "balanced": {
            "one": "Ten fresh episodes after {count} step: return {return} of {horizon}, before "
                   "any step {first}.",
            "other": "Ten fresh episodes after {count} steps: return {return} of {horizon}, before "
                     "any step {first}.",
        },
        "unadapted": "Ten fresh episodes after {count} steps: return {return} of {horizon}; "
                     "{right} % of the time on the right.",
        "adapted": {
            "one": "Ten fresh episodes after {count} step: return {return} of {horizon}, before "
                   "any step {first}; {right} % of the time on the right.",
            "other": "Ten fresh episodes after {count} steps: return {return} of {horizon}, before "
                     "any step {first}; {right} % of the time on the right.",
        },
    },
    "stepgraph": {
        "title": "The graph of a step",
        "plot": "What is computed from what in one step, and what flows back",
        "goals": {
            "walk": "Go forward to the end, then back until all has arrived.",
            "MAML": "With MAML and one parameter, find the α at which the two ways cancel and "
                    "nothing reaches θ.",
            "FOMAML": "With FOMAML and one parameter, find an α at which it sends θ the opposite "
                      "way from MAML.",
            "Reptile": "With Reptile, go to the end: which edges are left?",
            "Meta-SGD": "With Meta-SGD and two parameters, bring the query loss below 0.01. One "
                        "positive rate for both cannot.",
        },
        "controls": {
            "method": "Method",
            "parameters": "Task with",
            "theta_1": "θ₁",
            "theta_2": "θ₂",
            "alpha_1": "α₁",
            "alpha_2": "α₂",
        },
        "single": {"theta_1": "θ", "alpha_1": "α"},
        "numbers": "Numbers",
        "parameters": {"one": "one parameter", "two": "two parameters"},
        "next": "Next",
        "back": "Back",
        "nodes": {
            "theta": "θ",
            "alpha": "α",
            "support": "support loss",
            "gradient": "gradient g",
            "phi": "θ′ = θ − α ∘ g",
            "query": "query loss",
            "distance": "½ ‖θ − θ′‖²",
        },
        "cut": "cut",
        "unlearned": "not learned",
        "pair": "({first}, {second})",
        "steps": {
            "given": "θ is {theta} and α is {alpha}. Press Next.",
            "support": "On the support points θ has the loss {support}.",
            "gradient": "The gradient of this loss is g = {gradient}.",
            "phi": "One step downhill: θ′ = {phi}.",
            "query": "On the query points θ′ has the loss {query}. Now back.",
            "distance": "Reptile asks for no query loss: half the squared distance from θ to θ′ is "
                        "{distance}. Now back.",
            "arrive": "At θ′ the query loss has the gradient {arrive}.",
            "stop": "θ′ counts as a constant: nothing goes back through it.",
            "straight": "θ stands in θ′ itself, so {straight} reaches it unchanged.",
            "pull": "θ itself receives θ − θ′ = {straight}, which is α ∘ g.",
            "through": "θ also made g: by way of the Hessian it receives another {through}.",
            "lost": "g counts as a constant: the way through it is cut, and {through} is lost.",
            "closed": "The way through g is closed too.",
            "rates": "α receives {rates}, which is −g ∘ {arrive}. In all θ has received {total}.",
            "fixed": "α would receive {rates}, but it is not learned. In all θ has received "
                     "{total}.",
            "unasked": "α receives nothing. In all θ has received {total}.",
        },
    },
    "character": {
        "title": "Draw a character",
        "goals": {
            "own": "Draw five characters, one in each pad, and then one of them again.",
            "differ": "Draw one for which Meta-SGD and the nearest neighbour differ.",
            "game": "Play the game for {count} questions: who is right more often, you or it?",
        },
        "summary": "Any characters will do. The small pictures are what the networks get to see: "
                   "the drawing cropped to its ink. Meta-SGD and MAML take one step on the five.",
        "controls": {"mode": "What to do"},
        "modes": {"draw": "draw", "game": "play the game"},
        "pads": "Six pads to draw in",
        "query": "Which?",
        "pad": "Pad {number}",
        "last": "The last pad",
        "holds": {
            "empty": "{pad}, empty",
            "offered": "{pad}, with character {number} of those offered",
            "drawn": "{pad}, with your drawing",
        },
        "pick": "Pick",
        "clear": "Clear",
        "act": "{act}: {pad}",
        "full": "This pad is full: clear it to draw anew.",
        "table": "Which of the five is the last one?",
        "columns": {
            "none": "no step",
            "MAML": "MAML",
            "Meta-SGD": "Meta-SGD",
            "nearest": "nearest neighbour",
        },
        "share": "{share} %",
        "empty": {
            "one": "{count} pad is empty: draw a character in it, or pick one.",
            "other": "{count} pads are empty: draw a character in each, or pick one.",
        },
        "unasked": "The networks have seen five characters. Draw one of them again in the last "
                   "pad.",
        "said": "Meta-SGD says {MetaSGD}, and is {share} % sure; MAML says {MAML}, the nearest "
                "neighbour {nearest}. Without a step it would be {none}.",
        "game": {
            "asked": "Which of the five is this one?",
            "query": "The character that is asked about",
            "answer": "It is {number}",
            "again": "New game",
            "begun": "No network was trained on these five. Which is the large one?",
            "told": "It was {truth}: you said {you}, Meta-SGD {MetaSGD}. Right so far, of {count}: "
                    "you {yours}, Meta-SGD {its}.",
            "renewed": "Five new characters.",
            "right": {
                "MAML": "MAML",
                "nearest": "nearest neighbour",
            },
            "tally": "{right} right",
        },
    },
    "patientcurve": {
        "title": "A patient's curve",
        "goals": {
            "worse": "Find a patient for whom three samples are worse than none: the formula and "
                     "the network both miss by more than the typical curve.",
            "slip": "Write sample 1 down ten times too high: whose curve does that throw further?",
            "bounded": "Bound the step: find a patient whom, in spite of the slip, the network "
                       "misses by less than the formula does.",
        },
        "summary": "Drag the three samples. Rings: what was measured in this patient. Dotted: the "
                   "network before its step. In a bounded step no sample counts for more than one "
                   "that is {bound} mg/L off.",
        "plot": "Concentration in the blood, as measured and as told",
        "x": "hours after the dose",
        "y": "mg/L",
        "controls": {
            "patient": "Patient",
            "slip": "Sample 1 ten times too high",
            "bounded": "Bounded step",
            "hour_1": "Sample 1, time",
            "level_1": "Sample 1, level",
            "hour_2": "Sample 2, time",
            "level_2": "Sample 2, level",
            "hour_3": "Sample 3, time",
            "level_3": "Sample 3, level",
        },
        "units": {
            "hour_1": "{value} h",
            "level_1": "{value} mg/L",
            "hour_2": "{value} h",
            "level_2": "{value} mg/L",
            "hour_3": "{value} h",
            "level_3": "{value} mg/L",
        },
        "person": "{subject}, {dose} mg per kg",
        "back": "Put the samples back",
        "numbers": "The samples as numbers",
        "sample": "Sample {number}",
        "place": "{hour} h, {level} mg/L",
        "slipped": "{hour} h, {level} mg/L, written down as {wrong} mg/L",
        "wrong": "{wrong} mg/L",
        "names": {
            "measured": "measured",
            "typical": "typical patient",
            "formula": "likeliest patient, by the formula",
            "before": "network, before",
            "after": "network, one step",
        },
        "said": "Error on the {count} measurements that are not known, root mean square: the "
                "typical patient {typical} mg/L, the formula {formula}, the network {before} "
                "before its step and {after} after it.",
        "leaves": "The network's curve leaves the picture: it goes from {low} to {high} mg/L.",
        "beyond": "The formula's curve leaves the picture: it rises to {high} mg/L.",
    },
    "guesser": {
        "title": "Beat the guesser",
        "goals": {
            "play": "Play 30 rounds, and be as unpredictable as you can.",
            "habit": "Have a habit, such as changing sides each time, until the interval says that "
                     "you are being read.",
            "beat": "Begin a new game and lead it on: bring the whole interval below one half.",
        },
        "summary": "You show heads or tails, and so does the guesser: it wins if both are the "
                   "same, you win if not. After every {rounds} rounds it takes one step on what "
                   "you have shown. It has made up its mind before you press.",
        "plot": "The guesser's rounds won minus lost",
        "x": "rounds",
        "y": "won minus lost",
        "controls": {"player": "Who plays"},
        "you": "you",
        "players": {
            "alternates": "changing sides",
            "threes": "H, H, T, again",
            "coin": "a coin",
        },
        "heads": "Heads",
        "tails": "Tails",
        "again": "New game",
        "sides": {"heads": "heads", "tails": "tails"},
        "names": {
            "guesser": "guesser, with steps",
            "fixed": "the same, without steps",
            "band": "a coin, 95 % of the time",
        },
        "empty": "No round has been played yet. Show heads or tails.",
        "said": "Round {round}: shown {shown}, guessed {guess}. So far the guesser has won {hits}: "
                "{share} %, with a 95 % interval from {low} to {high} %. Without steps it would "
                "have won {fixed}.",
        "read": "One half lies below the interval: the player is being read.",
        "fooled": "One half lies above the interval: the guesser is led on.",
        "open": "One half lies within the interval, so nothing is shown yet. At this share it "
                "would take about {needed} rounds in all.",
        "level": "One half lies within the interval, so nothing is shown yet.",
        "changed": "Of the first {rounds}, before any step, it won {first}; of the last {rounds}, "
                   "{last}.",
    },
    "pages": {  # where a figure is not, or not yet
        "waiting": "This figure moves where JavaScript runs; the text and pictures beside it say "
                   "the same.",
        "undrawn": "This figure cannot be drawn here: {reason}.",
        "live": "This control needs a running notebook: open the page on Colab or in JupyterLab.",
    },
    "pictures": {  # what a figure's PNG does not share with its page
        "sinusoid": {
            "title": {
                "one": "after {count} inner step",
                "other": "after {count} inner steps",
            },
        },
        "alphalab": {
            "training": {
                "entry": "alpha per entry, from {start}",
                "tensor": "alpha per tensor, from {start}",
                "scalar": "alpha per scalar, from {start}",
            },
            "rates": "what alpha became",
            "number": "entries",
            "network": "from {start}",
        },
        "valley": {
            "title": {
                "gradient descent": {
                    "one": "gradient descent, {count} step",
                    "other": "gradient descent, {count} steps",
                },
                "momentum": {
                    "one": "momentum, {count} step",
                    "other": "momentum, {count} steps",
                },
                "Adam": {"one": "Adam, {count} step", "other": "Adam, {count} steps"},
            },
            "x": r"$\theta_1$",
            "y": r"$\theta_2$",
        },
        "stepgraph": {
            "title": {"one": "{method}, one parameter", "two": "{method}, two parameters"},
        },
        "character": {"chance": "chance, or cosine"},
        "cartpole": {
            "title": {
                "random": {
                    "one": "random, after {count} step",
                    "other": "random, after {count} steps",
                },
                "MAML": {"one": "MAML, after {count} step", "other": "MAML, after {count} steps"},
                "Meta-SGD": {
                    "one": "Meta-SGD, after {count} step",
                    "other": "Meta-SGD, after {count} steps",
                },
                "joint": {
                    "one": "joint, after {count} step",
                    "other": "joint, after {count} steps",
                },
            },
        },
    },
    "live": {
        "controls": {
            "shape": "Alpha has",
            "kind": "It begins",
            "low": "at, or from",
            "high": "to",
            "iterations": "Meta-iterations",
            "seed": "Seed",
            "train": "Train",
            "stop": "Stop",
        },
        "shapes": {
            "entry": "one rate per entry",
            "tensor": "one rate per tensor",
            "scalar": "one rate in all",
        },
        "kinds": {
            "constant": "at a constant",
            "uniform": "uniform in a range",
            "log-uniform": "log-uniform in a range",
        },
        "starts": {
            "constant": "{low}",
            "uniform": "uniform {low} to {high}",
            "log-uniform": "log-uniform {low} to {high}",
        },
        "idle": "Nothing trained yet.",
        "refused": "Not started: {error}.",
        "failed": "The training has failed: {error}.",
        "progress": "{done} of {count} meta-iterations",
        "measured": {
            "finished": "Finished after {count} meta-iterations: error {mean} after one step on "
                        "test tasks, mean of {seeds} seeds.",
            "stopped": "Stopped after {count} meta-iterations: error {mean} after one step on "
                       "test tasks, mean of {seeds} seeds.",
            "lost": {
                "one": "Lost (begin at a smaller alpha) after {count} meta-iteration: error {mean} "
                       "after one step on test tasks, mean of {seeds} seeds.",
                "other": "Lost (begin at a smaller alpha) after {count} meta-iterations: error "
                         "{mean} after one step on test tasks, mean of {seeds} seeds.",
            },
        },
        "unmeasured": {
            "finished": "Finished after {count} meta-iterations: no finite error after one step on "
                        "test tasks, mean of {seeds} seeds.",
            "stopped": "Stopped after {count} meta-iterations: no finite error after one step on "
                       "test tasks, mean of {seeds} seeds.",
            "lost": {
                "one": "Lost (begin at a smaller alpha) after {count} meta-iteration: no finite "
                       "error after one step on test tasks, mean of {seeds} seeds.",
                "other": "Lost (begin at a smaller alpha) after {count} meta-iterations: no finite "
                         "error after one step on test tasks, mean of {seeds} seeds.",
            },
        },
    },
}


def fill(sentence: str | dict[str, str], **values: object) -> str:
    """Return a sentence with its blanks filled; of several, the one that `count` asks for.

    As ``fill`` of ``shared/words.js`` does in a page.

    Raises
    ------
    KeyError
        If a blank has no value.
    """
    if isinstance(sentence, dict):
        sentence = sentence["one" if values["count"] == 1 else "other"]
    return sentence.format(**values)
