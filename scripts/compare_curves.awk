# Prints the validation losses of two runs side by side: a table with a curve of each.
#
#   awk -f scripts/compare_curves.awk WITH/events.jsonl WITHOUT/events.jsonl

# The number that follows "key": in this line.
function number(key, rest) {
  if (!match($0, "\"" key "\":[ ]*")) return ""
  rest = substr($0, RSTART + RLENGTH)
  match(rest, /^[-+0-9.eE]+/)
  return substr(rest, 1, RLENGTH) + 0
}

FNR == 1 { run++ }
/"event":[ ]*"eval"/ {
  step = number("step")
  if (!(step in seen)) { steps[++num_steps] = step; seen[step] = 1 }
  loss[run, step] = number("loss")
  if (low == "" || loss[run, step] < low) low = loss[run, step]
  if (high == "" || loss[run, step] > high) high = loss[run, step]
}

# Column of a loss in a picture of `width` columns.
function column(value) { return 1 + int((width - 1) * (value - low) / (high > low ? high - low : 1) + 0.5) }

END {
  width = 44
  printf "%7s %12s %9s %11s   %-*s\n", "step", "with Engram", "without", "difference", width, "E with, o without"
  for (i = 1; i <= num_steps; i++) {
    step = steps[i]
    if (!((1, step) in loss) || !((2, step) in loss)) continue
    with = loss[1, step]; without = loss[2, step]
    picture = ""
    for (c = 1; c <= width; c++) {
      picture = picture (c == column(with) ? (c == column(without) ? "*" : "E") : (c == column(without) ? "o" : " "))
    }
    printf "%7d %12.3f %9.3f %+11.3f   |%s|\n", step, with, without, with - without, picture
  }
}
