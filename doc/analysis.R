# analysis.R: the table "items" of a report, from clinical.analysis_observation.
#
#   psql -c "\copy (SELECT item, unit, local_day, value FROM clinical.analysis_observation WHERE project = 'P-1' AND local_day >= '2026-01-01' AND local_day < '2026-04-01') TO 'values.csv' CSV HEADER"
#   Rscript analysis.R values.csv items.csv
#
# One row for each item and unit: of the whole period (month is empty), and of each month.  An item is
# in the table if it has a number at all; a row without one was asked and not answered.
files <- commandArgs(trailingOnly = TRUE)
data <- read.csv(files[1], colClasses = c(item = "character", unit = "character", local_day = "character", value = "numeric"),
                 na.strings = character(0), quote = "\"", check.names = FALSE)
data$month <- substr(data$local_day, 1, 7)

# what has no number has no unit: it belongs to the item's first one
units <- unique(data[!is.na(data$value), c("item", "unit")])
units <- units[order(units$item, units$unit, method = "radix"), ]
first <- units[!duplicated(units$item), ]
data <- data[data$item %in% first$item, ]
without <- is.na(data$value)
data$unit[without] <- first$unit[match(data$item[without], first$item)]

# SAS's default (PCTLDEF = 5) and R's type 2: averages at the jumps
describe <- function(rows) {
    value <- rows$value[!is.na(rows$value)]
    quartiles <- if (length(value) > 0) quantile(value, c(.25, .5, .75), type = 2, names = FALSE) else rep(NA, 3)
    data.frame(item = rows$item[1], unit = rows$unit[1], month = rows$month[1], n = length(value), missing = nrow(rows) - length(value),
               mean = if (length(value) > 0) mean(value) else NA, sd = sd(value), median = quartiles[2], q1 = quartiles[1], q3 = quartiles[3],
               min = if (length(value) > 0) min(value) else NA, max = if (length(value) > 0) max(value) else NA)
}
whole <- data
whole$month <- ""
both <- rbind(whole, data)
items <- do.call(rbind, lapply(split(both, list(both$item, both$unit, both$month), drop = TRUE, sep = "\r"), describe))
items <- items[order(items$item, items$unit, items$month, method = "radix"), ]
write.csv(format(items, digits = 15, trim = TRUE, scientific = FALSE), files[2], row.names = FALSE)
