# clinical-gateway, built with ASan and UBSan, answers all requests of the other tests with no error of memory, no undefined
# behaviour and no leak; what it reads itself is fuzzed for a moment.  (make test-sanitize runs all tests of it with that
# build, make fuzz fuzzes for longer.)
use strict;
use warnings;
use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'clinical-gateway was not built: its libraries are not here' unless -x 'src/gateway/clinical-gateway';
plan skip_all => 'these are the tests with that build' if $ENV{CLINICAL_GATEWAY};

my $dir = PostgreSQL::Test::Utils::tempdir();
my $probe = "$dir/probe.c";
append_to_file($probe, "int main(void) { return 0; }\n");
plan skip_all => 'the compiler has no sanitizers' if system("cc -fsanitize=address,undefined $probe -o $dir/probe 2>/dev/null && $dir/probe") != 0;

my $program = 'src/gateway/clinical-gateway-sanitize';
is(system('make', '-s', 'gateway-sanitize', 'PG_CONFIG=' . ($ENV{PG_CONFIG} // 'pg_config')), 0, 'it is built');

# each in a directory of its own, as its name may be in use here
for my $case ([ '090_gateway', 100 ], [ '097_gateway_wire', 100 ], [ '099_gateway_cancel', 20 ])
{
	my ($test, $least) = @$case;
	my ($out, $errors) = ('', '');
	mkdir "$dir/$test";
	my $fine = do {
		local %ENV = (%ENV, CLINICAL_GATEWAY => $program, TESTDIR => "$dir/$test", TESTDATADIR => "$dir/$test/data", TESTLOGDIR => "$dir/$test/log");
		IPC::Run::run([ $^X, (map { "-I$_" } @INC), "$FindBin::RealBin/$test.pl" ], '<', \'', '>', \$out, '2>', \$errors, IPC::Run::timeout(900));
	};
	ok($fine, "$test: all is well") or diag substr $errors, -6000;
	cmp_ok(scalar(() = $out =~ /^ok \d+/mg), '>', $least, "$test: requests were made");
	is(scalar(grep { /Sanitizer|runtime error/ } split /\n/, $errors), 0, "$test: nothing is reported");
}

SKIP:
{
	skip 'clang has no libFuzzer', 1 if system("printf 'int LLVMFuzzerTestOneInput(void) { return 0; }' | clang -fsanitize=fuzzer,address -x c - -o $dir/fuzz_probe 2>/dev/null") != 0;
	is(system('make', '-s', 'gateway-fuzz', "GATEWAY_FUZZ=$dir/gateway_fuzz", 'PG_CONFIG=' . ($ENV{PG_CONFIG} // 'pg_config')), 0, 'the target of the fuzzer is built');
	mkdir "$dir/corpus";
	my ($out, $errors) = ('', '');
	my $fine = IPC::Run::run([ "$dir/gateway_fuzz", "$dir/corpus", 'test/fuzz/gateway', '-runs=100000', '-seed=1', '-max_len=2000', '-use_value_profile=1', "-artifact_prefix=$dir/" ], '<', \'', '>', \$out, '2>', \$errors, IPC::Run::timeout(600));
	ok($fine, 'and what it says holds') or diag substr $errors, -4000;
	like($errors, qr/^Done 100000 runs/m, 'for all inputs');
}

done_testing();
