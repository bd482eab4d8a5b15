command -v nodetool >/dev/null || fail "nodetool is not in PATH"
echo "@@ info"; nodetool info -T || fail "nodetool info failed"
echo "@@ status"; nodetool status || fail "nodetool status failed"
echo "@@ describecluster"; nodetool describecluster || fail "nodetool describecluster failed"
echo "@@ version"; nodetool version
