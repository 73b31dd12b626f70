SELECT * FROM clinical.submit_reports(:reports);
