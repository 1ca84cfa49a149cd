# Pipes, traps, jobs, co-processes and substitutions.
trap 'echo caught TERM' TERM
trap 'echo bye' EXIT
seq 1000 | sort -n | tail -1
word=$(echo a b c | tr a-z A-Z | cat | cat)
echo "$word"
(sleep 0.1; kill -TERM $$) &
wait $!
echo "waited $?"
wait
sleep 30 & job=$!
kill $job
wait $job
echo "killed $?"
yes | head -100000 | md5sum
echo "${PIPESTATUS[@]}"
coproc cat
echo hello >&"${COPROC[1]}"
read -r line <&"${COPROC[0]}"
echo "$line"
kill "$COPROC_PID"
exec 3< <(echo process; sleep 0.05; echo substitution)
cat <&3
read -r -t 0.1 </dev/zero
echo "timed out $?"
timeout 0.1 sleep 30
echo "timeout $?"
in_subshell() { trap 'echo caught USR1; exit 3' USR1; kill -USR1 $BASHPID; echo never; }
(in_subshell)
echo "left with $?"
for number in $(seq 50); do (echo "$number") & done | sort -n | md5sum
mapfile -t lines < <(seq 5 | tac)
echo "${lines[*]}"
cat <<<'here' | while read -r word; do echo "$word"; done
exit 7
