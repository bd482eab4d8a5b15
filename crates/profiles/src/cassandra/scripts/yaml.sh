# Reading cassandra.yaml. To what this is not sure of the answer is `?`: legal forms that hardly anybody writes, a file that
# cannot be read, and a key that is there twice, of which Cassandra takes the last.
YAML='
  function unsure() { told = 1; print "?"; exit }
  # starts TEXT KEY: the length of the key and its colon, if the text begins with them.
  function starts(text, key) { return match(text, "^[\"\047]?" key "[\"\047]?[ \t]*:([ \t\r]|$)") ? RLENGTH : 0 }
  function scalar(text) {
    sub(/\r$/, "", text); sub(/(^|[ \t])#.*$/, "", text); gsub(/^[ \t]+|[ \t]+$/, "", text)
    if (text ~ /^".*"$/ || text ~ /^\047.*\047$/) {
      text = substr(text, 2, length(text) - 2)
      return text == "" || text ~ /["\047\\]/ ? "?" : text
    }
    return text ~ /^(["\047&*!|>{}@`%?,-]|\[|\])|:[ \t]|:$/ ? "?" : text
  }
  NR == 1 { sub(/^\357\273\277/, "") }
  /^[ \t]*(#|\r?$)/ { next }
  # A map in braces, a key of several lines, and what another map brings along.
  /^[{?<]/ { unsure() }
  /^(---|%)/ { if ($0 !~ /^(%.*|---[ \t\r]*(#.*)?)$/) unsure(); on = 0; next }
  # All of a file may be indented.
  /^[ \t]/ { text = $0; sub(/^[ \t]+/, "", text); if (starts(text, name)) unsure() }
'
# setting NAME: the values of a scalar, or of a list of scalars, a line each; none where it is commented out.
setting() {
  [ -r "$IN_USE" ] || { echo '?'; return; }
  awk -v name="$1" "$YAML"'
    function keep(text) { text = scalar(text); if (text == "?") unsure(); if (text != "") values[++count] = text }
    starts($0, name) {
      if (seen++) unsure()
      on = 1; value = substr($0, starts($0, name) + 1)
      if (value ~ /^[ \t]*\[/) {
        if (value !~ /\][ \t\r]*$/ && value !~ /\][ \t]+#/) unsure()
        sub(/\]([ \t\r]*|[ \t]+#.*)$/, "", value); sub(/^[ \t]*\[/, "", value)
        many = split(value, each, ","); for (n = 1; n <= many; n++) keep(each[n])
      } else keep(value)
      next
    }
    on && /^[ \t]*-([ \t\r]|$)/ {
      match($0, /^[ \t]*/)
      if (items ? RLENGTH != depth : count) unsure()
      depth = RLENGTH; sub(/^[ \t]*-/, ""); keep($0)
      if (count != ++items) unsure()
      next
    }
    on && /^[ \t]/ { unsure() }
    { on = 0 }
    END { if (!told) for (n = 1; n <= count; n++) print values[n] }' "$IN_USE"
}
# nested NAME KEY: the value of a key below a name, a level deep, or in the first map of a list; none where either is commented
# out.
nested() {
  [ -r "$IN_USE" ] || { echo '?'; return; }
  awk -v name="$1" -v key="$2" "$YAML"'
    starts($0, name) {
      if (seen++) unsure()
      on = 1; if (scalar(substr($0, starts($0, name) + 1)) == "?") unsure()
      next
    }
    /^[^ \t-]/ { on = 0 }
    on {
      match($0, /^[ \t]*(-[ \t]+)?/); inner = RLENGTH; text = substr($0, inner + 1)
      if (!depth) depth = inner
      if (inner > depth && fresh) unsure()
      fresh = 0
      if (inner == depth && starts(text, key)) {
        if (found++) unsure()
        fresh = 1; value = scalar(substr(text, starts(text, key) + 1)); if (value == "?") unsure()
      }
    }
    END { if (!told && value != "") print value }' "$IN_USE"
}
# The directory that has system.local: that of Cassandra's own tables if it has one, else the first of all.
system_dir() {
  for name in local_system_data_file_directory data_file_directories; do setting "$name"; done | head -n 1
}
