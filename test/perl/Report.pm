# What the tests of report jobs share: how a report is held while it is made, and what becomes of jobs.
package Report;
use strict;
use warnings;
use Exporter 'import';
use Intake;

our @EXPORT = qw(request hold_reports job status_of job_becomes);

# Asks for a report; its id.
sub request
{
	my ($node, $options, $role) = @_;
	my $as = defined $role ? "SET ROLE $role; " : '';
	return $node->safe_psql('postgres', sprintf "%sSELECT clinical.request_report('IN', '[2026-01-01,2026-07-01)', '%s')", $as, $options // '{}');
}

# A session that keeps reports from being finished: each reads this table, and what processes patients' reports
# has read it before.
sub hold_reports
{
	my ($node) = @_;
	my $session = session($node, 'postgres');
	answers($session, 'BEGIN; LOCK TABLE clinical.monitor_rule_version IN ACCESS EXCLUSIVE MODE');
	return $session;
}

# Some columns of a job.
sub job { my ($node, $id, $columns) = @_; return $node->safe_psql('postgres', "SELECT $columns FROM clinical.report_job WHERE id = '$id'") }
sub status_of { my ($node, $id) = @_; return job($node, $id, 'status') }

# Waits until it has that status.
sub job_becomes
{
	my ($node, $id, $status) = @_;
	return wait_until($node, 'postgres', "SELECT status FROM clinical.report_job WHERE id = '$id'", $status);
}

1;
