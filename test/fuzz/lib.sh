# lib.sh: what the scripts that fuzz with libFuzzer share; sourced after test/lib.sh.
# They take SECONDS_EACH and SEED.

# Installs what is missing, and makes a scratch directory with the directories corpus and crashes, which is kept after a failure.
fuzz_begin() {
	: "${SECONDS_EACH:=60}" "${SEED:=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}"
	WITH_CLANG=1 "$top/test/setup.sh"
	make_scratch
	trap 'status=$?; [ "$status" = 0 ] && rm -rf "$SCRATCH" || say "kept: $SCRATCH"; exit "$status"' EXIT
	as_user mkdir "$SCRATCH/corpus" "$SCRATCH/crashes"
}

# fuzz_run TARGET WHAT MAX_LEN WORDS REPRODUCE: runs SCRATCH/TARGET, which reads inputs of up to MAX_LEN bytes, and prints
# its figures and the lines of its log that begin with WORDS.
fuzz_run() {
	say "fuzz $2 for $SECONDS_EACH s, SEED=$SEED"
	status=0
	(cd "$SCRATCH" && "./$1" corpus -max_total_time="$SECONDS_EACH" -seed="$SEED" -max_len="$3" -artifact_prefix=crashes/ \
		-use_value_profile=1 -print_final_stats=1 -timeout=10 >log 2>&1) || status=$?
	grep -E "^(stat::|$4|#[0-9]+.*DONE|SUMMARY|==[0-9]+==)" "$SCRATCH/log" || tail -n 5 "$SCRATCH/log"
	if [ "$status" != 0 ]; then
		ls -l "$SCRATCH/crashes"
		die "reproduce with: $5"
	fi
}
