# The engine of monitoring rules, outside of the server: fixed cases, what they cost, and chance
# histories against a literal reading of the definition.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;

my $cc = $ENV{CC} || 'cc';
plan skip_all => "no C compiler $cc" if system("$cc --version >/dev/null 2>&1") != 0;

my $program = PostgreSQL::Test::Utils::tempdir() . '/streak_test';
my @sources = (map({ "src/streak_$_.c" } qw(day step back find match)), map { "test/streak/streak_$_.c" } qw(case oracle test));
is(system($cc, qw(-O2 -Wall -Wextra -Werror -I src -o), $program, @sources), 0, 'it builds without the server') or die;

my $histories = $ENV{CLINICAL_STREAKS} || 20000;
my $output = `'$program' -n $histories 2>&1`;
my $status = $?;
for my $line (split /\n/, $output)
{
	if ($line =~ /^(not )?ok - (.*)/)
	{
		ok(!$1, $2);
	}
	else
	{
		note($line);
	}
}
is($status, 0, 'it came to the end');
like($output, qr/^ok - $histories histories/m, 'with all histories');

done_testing();
