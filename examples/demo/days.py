# One report for each day of flights, a hundred days in a run: what one cycle takes is decided here.
#
# DATA_CHECKPOINT is the value of the checkpoint column, last_flight, in the last row of the run before; None in the first.
import datetime

DAYS = 100
AT_LEAST = 15  # minutes that make an arrival a late one

done = DATA_CHECKPOINT or 0
days = {}
for flight in INPUT_DATA:
    if flight["id"] > done:
        day = datetime.date(flight["year"], flight["month"], flight["day"])
        if day not in days and len(days) == DAYS:
            break
        days.setdefault(day, []).append(flight)

reports = []
for day, flights in days.items():
    arrived = [flight for flight in flights if flight["arr_delay"] is not None]
    minutes = {}
    late = 0
    for flight in arrived:
        if flight["arr_delay"] >= AT_LEAST:
            late += 1
            minutes[flight["carrier"]] = minutes.get(flight["carrier"], 0) + flight["arr_delay"]
    report = {
        "day": day,
        "flights": len(flights),
        "arrived": len(arrived),
        "late": late,
        "late_share": late / len(arrived) if arrived else None,
        "worst": max(minutes, key=minutes.get, default=None),
        "last_flight": flights[-1]["id"],
    }
    if report["late_share"] is not None and report["late_share"] > 0.6:
        log.warn(f"{day}: {report['late_share']:.0%} late, most minutes by {report['worst']}")
    reports.append(report)
log.info(f"{len(reports)} days after flight {done}")
return reports
