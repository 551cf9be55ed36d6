"""The C text of what an exported student keeps between loads, and of the tokens made of it.

The window of packd_jax/features.py, and the tables of packd_jax/window_features.py where the
student reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Template

from packd_jax.config.features import CONFIDENCES, POPULARITY_BLOCKS
from packd_jax.export.c_constants import constant_array
from packd_jax.quantize.integer_student import IntegerStudent, pc_offsets
from packd_jax.window_features import COUNTED

_STATE = Template("""$entry
typedef struct {
  int64_t block[${P}_LOOK_BACK]; /* 64-byte blocks of the window, oldest first */
$tokens
  uint32_t accesses; /* seen so far; counts to ${P}_LOOK_BACK + 1 */$tables
} ${p}_state;

static inline void ${p}_reset(${p}_state *state) {
  for (uint64_t i = 0; i < sizeof *state; i++) ((uint8_t *)state)[i] = 0;
}

static inline uint64_t ${p}_hash(uint64_t value) {
  return value * UINT64_C(0x9E3779B97F4A7C15);
}

/* 0; +1 to +$exact; -1 to -$exact; then octaves of larger ones, positive first. */
static inline uint8_t ${p}_delta_token(int64_t delta) {
  const uint64_t size = delta < 0 ? 0 - (uint64_t)delta : (uint64_t)delta;
  const uint64_t own = delta < 0 ? size + $exact : size;
  uint64_t octave = delta > 0 ? 2 * $exact + 1 : 2 * $exact + 1 + $octaves;
  for (int k = 1; k < $octaves; k++) octave += (uint64_t)(size > ((uint64_t)$exact << k));
  return (uint8_t)(size <= $exact ? own : octave);
}
$pc_table
/* The place of a PC among those of the training trace, or one of $buckets hash buckets. */
static inline uint8_t ${p}_pc_token(uint64_t pc) {
  const uint8_t bucket = (uint8_t)($vocabulary + (${p}_hash(pc) >> 32) % $buckets);
$find_pc
}
$observe_tables
/* Takes the next access; 1 once the window is full, which takes one access more than it holds. */
static inline int ${p}_observe(${p}_state *state, uint64_t pc, uint64_t address) {
  const int64_t block = (int64_t)(address >> 6);$delta_before
  for (int i = 0; i < ${P}_LOOK_BACK - 1; i++) {
    state->block[i] = state->block[i + 1];
    state->pc[i] = state->pc[i + 1];$shift_delta
  }
  state->block[${P}_LOOK_BACK - 1] = block;
  state->pc[${P}_LOOK_BACK - 1] = ${p}_pc_token(pc);
$delta_after
  state->offset[0] = (uint8_t)(block & 63);$call_tables
  state->accesses += (uint32_t)(state->accesses <= ${P}_LOOK_BACK);
  return state->accesses > ${P}_LOOK_BACK;
}
""")

_PC_TABLE = Template("""
#define ${P}_PC_BASE UINT64_C($base)
$table
""")

_FIND_PC = Template("""\
  const uint64_t offset = pc - ${P}_PC_BASE;
  int place = 0; /* of the last one that is no larger */
  for (int rest = $count; rest > 1; rest -= rest / 2)
    place += ${p}_pc[place + rest / 2] <= offset ? rest / 2 : 0;
  return ${p}_pc[place] == offset ? (uint8_t)place : bucket;""")

_FIND_NO_PC = """\
  return bucket;"""

_LAST_LOADS_ENTRY = Template("""
typedef struct {
  int64_t block; /* of the last load */
  uint16_t tag; /* of the PC: upper bits of its hash */
  uint8_t local[$steps]; /* tokens of the last deltas, oldest first */$field
} ${p}_last_loads;
""")

_OBSERVE_LAST_LOADS = Template("""
/* Takes a load of a PC and looks up its last deltas. */
static inline void ${p}_observe_last_loads(${p}_state *state, uint64_t pc, int64_t block) {
  const uint64_t hash = ${p}_hash(pc);
  ${p}_last_loads *entry = &state->last_loads[(hash >> 32) % $entries];
  const uint16_t tag = (uint16_t)(hash >> 48);
  if (entry->tag == tag) {
    const uint8_t token = ${p}_delta_token(block - entry->block);$count
    for (int i = 0; i < $last; i++) entry->local[i] = entry->local[i + 1];
    entry->local[$last] = token;
  } else {
    entry->tag = tag;$none
    for (int i = 0; i < $steps; i++) entry->local[i] = 0;
  }
  entry->block = block;
  for (int i = 0; i < $steps; i++) state->local[i] = entry->local[i];$look_up
}
""")

# What confidence adds to the text of the last loads.
_CONFIDENCE = {
    "field": "\n  uint8_t confidence; /* up when a delta's token repeats, else down */",
    "count": """
    if (entry->local[$last] == token)
      entry->confidence = (uint8_t)(entry->confidence + (entry->confidence < $most));
    else
      entry->confidence = (uint8_t)(entry->confidence - (entry->confidence > 0));""",
    "none": "\n    entry->confidence = 0;",
    "look_up": "\n  state->confidence[0] = entry->confidence;",
}

_OBSERVE_POPULARITY = Template("""
static inline uint8_t *${p}_loads_of(${p}_state *state, int64_t block) {
  return &state->loads[(${p}_hash((uint64_t)block) >> 32) % $entries];
}

/* Takes a load of a block: how often it and its neighbours were loaded before. */
static inline void ${p}_observe_popularity(${p}_state *state, int64_t block) {
  static const uint8_t distance[$count] = {$distances};
  for (int i = 0; i < $count; i++) {
    const uint8_t loads = *${p}_loads_of(state, block + distance[i]);
    state->popularity[i] = (uint8_t)((loads > 0) + (loads > 1) + (loads > 3) + (loads > 7));
  }
  uint8_t *own = ${p}_loads_of(state, block);
  *own = (uint8_t)(*own + (*own < $most));
  if (++state->period == $period) { /* old popularity fades */
    state->period = 0;
    for (int i = 0; i < $entries; i++) state->loads[i] = (uint8_t)(state->loads[i] >> 1);
  }
}
""")


def state_text(student: IntegerStudent, names: Mapping[str, str]) -> str:
    """The type of the state, `reset`, and `observe`, which makes the tokens of every access.

    `names` are the prefix `p` of all names, and `P`, the same in capitals.
    """
    features = student.features
    base, offsets = pc_offsets(student.pc_vocabulary)
    pc_table, find = "", _FIND_NO_PC
    if len(offsets):
        table = constant_array(names, "pc", offsets).strip("\n")
        pc_table = _PC_TABLE.substitute(names, base=f"{int(base):#x}", table=table)
        find = _FIND_PC.substitute(names, count=len(offsets))
    last = f"{names['P']}_LOOK_BACK - 1"
    token = f"{names['p']}_delta_token(block - state->block["
    if features.delta_from == "current":
        before, shift = "", ""
        after = f"  for (int i = 0; i <= {last}; i++)\n    state->delta[i] = {token}i]);"
    else:
        before = f"\n  const uint8_t delta = {token}{last}]);"
        shift = "\n    state->delta[i] = state->delta[i + 1];"
        after = f"  state->delta[{last}] = delta;"
    return _STATE.substitute(
        names,
        **_tables(student, names),
        tokens="\n".join(f"  uint8_t {t.name}[{t.steps}];" for t in student.tables),
        exact=features.delta_exact,
        octaves=features.delta_log_buckets,
        vocabulary=features.pc_vocabulary,
        buckets=features.pc_hash_buckets,
        pc_table=pc_table,
        find_pc=find,
        delta_before=before,
        shift_delta=shift,
        delta_after=after,
    )


def _tables(student: IntegerStudent, names: Mapping[str, str]) -> dict[str, str]:
    """The parts of the state's text that are of tables, empty without any."""
    features, p = student.features, names["p"]
    entry = fields = observe = call = ""
    if features.local_deltas:
        steps, entries = features.local_deltas, features.local_entries
        numbers = {"steps": steps, "last": steps - 1, "most": CONFIDENCES - 1, "entries": entries}
        sure = {
            part: Template(text).substitute(numbers) if features.local_confidence else ""
            for part, text in _CONFIDENCE.items()
        }
        entry = _LAST_LOADS_ENTRY.substitute(names, **numbers, **sure)
        observe += _OBSERVE_LAST_LOADS.substitute(names, **numbers, **sure)
        fields += f"\n  {p}_last_loads last_loads[{entries}]; /* of PCs, by a hash of them */"
        call += f"\n  {p}_observe_last_loads(state, pc, block);"
    if features.popularity_entries:
        entries = features.popularity_entries
        fields += "\n  uint32_t period; /* loads since loads[] were halved */"
        fields += f"\n  uint8_t loads[{entries}]; /* of blocks, by a hash of them */"
        observe += _OBSERVE_POPULARITY.substitute(
            names,
            entries=entries,
            count=len(POPULARITY_BLOCKS),
            distances=", ".join(map(str, POPULARITY_BLOCKS)),
            most=COUNTED,
            period=features.popularity_period,
        )
        call += f"\n  {p}_observe_popularity(state, block);"
    return {"entry": entry, "tables": fields, "observe_tables": observe, "call_tables": call}
